"""Remove old records of Airflow's database and old log files."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from app.errors import TickhouseError
from app.settings import Settings

log = logging.getLogger("tickhouse.maintenance")


class CleanupFailed(TickhouseError):
    """`airflow db clean` ended with an error."""


def clean_database(settings: Settings, now: datetime) -> None:
    """Run `airflow db clean` for records older than RETENTION_AIRFLOW_DAYS.

    Airflow hides its database from tasks, so its address is a setting of ours,
    AIRFLOW_DATABASE_URL; without it nothing is done.

    :raises CleanupFailed: the command failed.
    """
    if settings.airflow_database_url is None:
        log.warning(
            "AIRFLOW_DATABASE_URL is not set, so Airflow's database is not cleaned. Set it to the "
            "value of Airflow's sql_alchemy_conn."
        )
        return
    before = now - timedelta(days=settings.retention_airflow_days)
    url = settings.airflow_database_url.get_secret_value()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"),
            *("--error-on-cleanup-failure", "--clean-before-timestamp", before.isoformat()),
        ],
        env={**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = (done.stdout + done.stderr).replace(url, "…").strip()
        raise CleanupFailed(
            f"airflow db clean ended with exit code {done.returncode}: {output[-2000:]}"
        )
    moment = before.isoformat(" ", "seconds")
    log.info("Removed records of Airflow's database from before %s.", moment)


def remove_logs(folder: Path, settings: Settings, now: datetime) -> int:
    """Remove log files under `folder` that are older than RETENTION_AIRFLOW_DAYS.

    Empty folders are removed, too. Returns the number of files.
    """
    before_s = (now - timedelta(days=settings.retention_airflow_days)).timestamp()
    count = size = 0
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds comes before it
        if path.is_dir() and not path.is_symlink():
            if path.stat().st_mtime < before_s and not any(path.iterdir()):
                path.rmdir()
        elif path.lstat().st_mtime < before_s:
            count, size = count + 1, size + path.lstat().st_size
            path.unlink()
    log.info("Removed %d log files, %d kB, under %s.", count, size // 1000, folder)
    return count
