"""Run `dbt build` in a subprocess and read its results."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import app
from app.errors import TickhouseError
from app.settings import Settings

log = logging.getLogger("tickhouse.build")

PROJECT = Path(app.__file__).resolve().parents[1] / "dbt_stocks"
INCREMENTAL_SELECTION = ("path:models/silver", "path:models/gold,resource_type:test")
"""Selection of an incremental build: the tables of silver and their tests, and the tests of gold.
Views and seeds only change with the project."""
FAILED = ("error", "fail", "runtime error")


class BuildFailed(TickhouseError):
    """dbt ended with an error or a failed test; readers keep the gold of the last good build."""


class DbtResult(NamedTuple):
    """Result of a `dbt build`."""

    models: int
    tests: int
    failures: tuple[str, ...]
    """for each failed node, its name and the reason"""


def fingerprint(project: Path = PROJECT) -> str:
    """Hash every file of the dbt project; a full build is due when the hash changes."""
    digest = hashlib.sha256()
    for path in sorted(project.rglob("*")):
        relative = path.relative_to(project)
        if path.is_file() and relative.parts[0] not in ("target", "logs", "dbt_packages"):
            digest.update(f"{relative}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dbt_build(
    settings: Settings, *, full: bool, full_refresh: bool = False, keep_open: tuple[int, ...] = ()
) -> DbtResult:
    """Run `dbt build` on the warehouse, which the caller has locked and closed.

    :param full: build seeds and views too, not only the incremental tables; no unit tests.
    :param full_refresh: rebuild every silver table from RAW.
    :param keep_open: file descriptors that dbt inherits, such as the lock's.
    :raises BuildFailed: a model or a test failed.
    """
    selection = [] if full or full_refresh else ["--select", *INCREMENTAL_SELECTION]
    refresh = ["--full-refresh"] if full_refresh else []
    target = folder(settings)
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    done = run_dbt(
        settings,
        *("build", "--exclude-resource-type", "unit_test"),
        *(*selection, *refresh),
        keep_open=keep_open,
    )
    result = read_results(json.loads(results.read_text())) if results.exists() else None
    if done.returncode == 0 and result is not None:
        return result
    if result is not None and result.failures:
        raise BuildFailed(
            f"dbt build failed: {'; '.join(result.failures)}. Its log: {target}/dbt.log."
        )
    output = (done.stdout + done.stderr).strip()
    log.error("output of dbt:\n%s", output[-8000:])
    raise BuildFailed(
        f"dbt build ended with exit code {done.returncode} before any model: "
        f"{output.splitlines()[-1] if output else 'it printed nothing'}. Its log: {target}/dbt.log."
    )


def run_dbt(
    settings: Settings, *arguments: str, keep_open: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a dbt command in a subprocess and wait for it.

    :param keep_open: file descriptors that dbt inherits.
    """
    command = [
        *(sys.executable, "-c", "from dbt.cli.main import cli; cli()"),
        *("--quiet", "--no-use-colors", *arguments, "--target", settings.warehouse),
    ]
    folder(settings).mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command,
        cwd=PROJECT,
        env=environment(settings, os.environ),
        pass_fds=keep_open,
        capture_output=True,
        text=True,
        check=False,
    )


def folder(settings: Settings) -> Path:
    """The folder of dbt's artifacts and log, outside the repository."""
    return settings.home / "dbt"


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of the dbt process: `base` without our secrets, plus paths and settings."""
    secrets = {name.upper() for name in Settings.secret_names()}
    target = str(folder(settings))
    kept = {name: value for name, value in base.items() if name.upper() not in secrets}
    return kept | {
        "DUCKDB_PATH": str(settings.warehouse_path),
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": target,
        "DBT_LOG_PATH": target,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        **_snowflake(settings),
    }


def _snowflake(settings: Settings) -> dict[str, str]:
    """The Snowflake settings that are set, as environment variables."""
    named = [name for name in Settings.model_fields if name.startswith("snowflake_")]
    values = ((name.upper(), getattr(settings, name)) for name in named)
    return {name: str(value) for name, value in values if value is not None}


def read_results(results: dict[str, Any]) -> DbtResult:
    """Summarize dbt's run_results.json."""
    nodes = [(r["unique_id"], r["status"], r.get("message") or "") for r in results["results"]]
    tests = [node for node in nodes if node[0].startswith("test.")]
    failures = tuple(
        f"{unique_id.split('.')[2]} ({' '.join(message.split())})"
        for unique_id, status, message in nodes
        if status in FAILED
    )
    for unique_id, status, message in nodes:
        if status == "warn":
            log.warning("dbt test %s warns: %s", unique_id.split(".")[2], message)
    return DbtResult(len(nodes) - len(tests), len(tests), failures)
