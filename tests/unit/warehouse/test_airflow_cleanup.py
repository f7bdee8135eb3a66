"""Which log files maintenance removes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.settings import Settings
from app.warehouse.airflow_cleanup import remove_logs

NOW = datetime(2024, 3, 5, tzinfo=UTC)


def write(path: Path, age: timedelta) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("log")
    moment = (NOW - age).timestamp()
    for touched in (path, path.parent):
        os.utime(touched, (moment, moment))
    return path


def test_old_log_files_and_the_folders_that_they_leave_empty_are_removed(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, retention_airflow_days=2)  # type: ignore[call-arg]
    old = write(tmp_path / "run_id=1" / "attempt=1.log", timedelta(days=3))
    new = write(tmp_path / "run_id=2" / "attempt=1.log", timedelta(days=1))

    assert remove_logs(tmp_path, settings, NOW) == 1
    assert not old.exists()
    assert new.exists()
    removed_again = remove_logs(tmp_path, settings, NOW)
    assert removed_again == 0
