"""One `dbt build` of what changed, as a process of its own, and what came of it."""

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
MINUTE = ("path:models/silver", "path:models/gold,resource_type:test")
"""What a minute's build selects: the tables that grow, their tests, and those of gold. Views and
seeds change with the project alone."""
FAILED = ("error", "fail", "runtime error")


class BuildFailed(TickhouseError):
    """dbt ended with an error or a failing test; gold stays as it was for its readers."""


class DbtResult(NamedTuple):
    """What a `dbt build` did."""

    models: int
    tests: int
    failures: tuple[str, ...]
    """a part of a sentence each: which node failed and why"""


def fingerprint(project: Path = PROJECT) -> str:
    """A hash of every file of the dbt project: another one calls for a whole build."""
    digest = hashlib.sha256()
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if path.is_file() and inside.parts[0] not in ("target", "logs", "dbt_packages"):
            digest.update(f"{inside}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dbt_build(
    settings: Settings, *, whole: bool, full_refresh: bool = False, keep_open: tuple[int, ...] = ()
) -> DbtResult:
    """Run `dbt build` on the warehouse, whose lock the caller holds and which it has closed.

    :param whole: seeds and views too, and unit tests excepted; else only what grows by the minute.
    :param full_refresh: make every silver table again from RAW.
    :param keep_open: file descriptors that dbt inherits: the lock's.
    :raises BuildFailed: a model or a test failed.
    """
    selection = [] if whole or full_refresh else ["--select", *MINUTE]
    refresh = ["--full-refresh"] if full_refresh else []
    place = folder(settings)
    results = place / "run_results.json"
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
            f"dbt build failed: {'; '.join(result.failures)}. Its log: {place}/dbt.log."
        )
    said = (done.stdout + done.stderr).strip()
    log.error("dbt said:\n%s", said[-8000:])
    raise BuildFailed(
        f"dbt build ended with exit code {done.returncode} before any model: "
        f"{said.splitlines()[-1] if said else 'it said nothing'}. Its log: {place}/dbt.log."
    )


def run_dbt(
    settings: Settings, *words: str, keep_open: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a dbt command in a process of its own and wait for it.

    :param keep_open: file descriptors that dbt inherits.
    """
    command = [
        *(sys.executable, "-c", "from dbt.cli.main import cli; cli()"),
        *("--quiet", "--no-use-colors", *words, "--target", settings.warehouse),
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
    """Where dbt keeps its artefacts and log: never in the repository."""
    return settings.home / "dbt"


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of the dbt process: `base` without our secrets, and where things are."""
    secrets = {name.upper() for name in Settings.secret_names()}
    place = str(folder(settings))
    kept = {name: value for name, value in base.items() if name.upper() not in secrets}
    return kept | {
        "DUCKDB_PATH": str(settings.warehouse_path),
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": place,
        "DBT_LOG_PATH": place,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        **_snowflake(settings),
    }


def _snowflake(settings: Settings) -> dict[str, str]:
    """The settings of the Snowflake target that are set, by their names."""
    named = [name for name in Settings.model_fields if name.startswith("snowflake_")]
    values = ((name.upper(), getattr(settings, name)) for name in named)
    return {name: str(value) for name, value in values if value is not None}


def read_results(results: dict[str, Any]) -> DbtResult:
    """What dbt's run_results.json says."""
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
