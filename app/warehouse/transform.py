"""Run `dbt build` in a subprocess and read its results."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

import app
from app.errors import TickhouseError
from app.settings import Settings

log = logging.getLogger("tickhouse.build")

PROJECT = Path(app.__file__).resolve().parents[1] / "dbt_stocks"
FULL_BUILD, MINUTE_BUILD, SILVER_BUILD = "full_build", "minute_build", "silver_build"
"""Names of selections in dbt_stocks/selectors.yml."""
BUILT_LOAD, REBUILD_DATES = "BUILT_LOAD", "REBUILD_DATES"
"""Variables of dbt's environment for the macros `built_load` and `rebuilt_dates`."""
LEAN = ("--only-run-results", "--log-level-file", "info")
"""Options of the build of each minute, which the last full build has left a manifest for. Without
the manifest and the text of each statement in the log it takes a fifth less CPU time."""
FAILED = ("error", "fail", "runtime error")


class BuildFailed(TickhouseError):
    """dbt ended with an error or a failed test; readers keep the gold of the last good build."""


class DbtResult(NamedTuple):
    """Result of a `dbt build`."""

    models: int
    tests: int
    failures: tuple[str, ...]
    """for each failed node, its name and the reason"""


MIXED = "mixed"
"""In place of silver's hash: its rows were computed by more than one version of its SQL."""
_MACRO = re.compile(r"{%-?\s*macro\s+(?:[a-z]+__)?(\w+)\(")
_REF = re.compile(r"\bref\(\s*['\"](\w+)['\"]")


class Fingerprint(NamedTuple):
    """Hashes of the dbt project, by which a build sees what changed since the last one."""

    project: str
    """of every file: all views and seeds are built when it changes"""
    silver: str
    """of what silver's tables are computed by: their SQL, the macros, and the seeds they read"""

    def __str__(self) -> str:
        return f"{self.project}-{self.silver}"

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read what `str` wrote; the ledger of earlier versions has `project` alone."""
        project, _, silver = text.partition("-")
        return cls(project, silver)


def fingerprint(project: Path = PROJECT) -> Fingerprint:
    """Hash the files of the dbt project, except what dbt writes."""
    complete, silver = hashlib.sha256(), hashlib.sha256()
    seeds = _seeds_of_silver(project)
    for path in sorted(project.rglob("*")):
        relative = path.relative_to(project)
        if path.is_file() and relative.parts[0] not in ("target", "logs", "dbt_packages"):
            entry = f"{relative}\0".encode() + path.read_bytes() + b"\0"
            complete.update(entry)
            is_sql = relative.suffix == ".sql" and relative.parts[0] != "tests"
            is_of_gold = relative.parts[1:2] == ("gold",)
            if path in seeds or (is_sql and not is_of_gold):
                silver.update(entry)
    return Fingerprint(complete.hexdigest()[:16], silver.hexdigest()[:16])


def _seeds_of_silver(project: Path) -> set[Path]:
    """The seeds that models of bronze and silver read, themselves or by the macros they call."""
    macros = [path.read_text() for path in sorted((project / "macros").rglob("*.sql"))]
    texts = [
        path.read_text()
        for layer in ("bronze", "silver")
        for path in sorted((project / "models" / layer).rglob("*.sql"))
    ]
    for text in texts:  # which grows by the files of macros that are called
        words = set(re.findall(r"\w+", text))
        texts += [m for m in macros if m not in texts and not words.isdisjoint(_MACRO.findall(m))]
    named = {name for text in texts for name in _REF.findall(text)}
    return {path for path in (project / "seeds").rglob("*.csv") if path.stem in named}


def dbt_build(
    settings: Settings,
    *,
    built_load: int,
    full: bool,
    full_refresh: bool = False,
    keep_open: tuple[int, ...] = (),
) -> DbtResult:
    """Run `dbt build` on the warehouse, which the caller has locked and closed.

    :param built_load: number of the newest load in the last successful build, 0 before the first;
        the macro `built_load` would ask the ledger for it in each model and test.
    :param full: build seeds and views too, not only the incremental tables; no unit tests.
    :param full_refresh: rebuild every silver table from RAW.
    :param keep_open: file descriptors that dbt inherits, such as the lock's.
    :raises BuildFailed: a model or a test failed.
    """
    selector = FULL_BUILD if full or full_refresh else MINUTE_BUILD
    refresh = ["--full-refresh"] if full_refresh else []
    lean = LEAN if selector == MINUTE_BUILD else ()
    return _run_nodes(
        settings,
        *("build", "--selector", selector, *lean, *refresh),
        keep_open=keep_open,
        more={BUILT_LOAD: str(built_load)},
    )


def dbt_build_dates(
    settings: Settings, dates: str, *, is_first: bool, keep_open: tuple[int, ...] = ()
) -> DbtResult:
    """Build and test silver's rows of some session dates, as a pass of a rebuild.

    :param dates: for the macro `rebuilt_dates`.
    :param is_first: replace the tables.
    :raises BuildFailed: a model or a test failed.
    """
    return _run_nodes(
        settings,
        *("build", "--selector", SILVER_BUILD, *(("--full-refresh",) if is_first else ())),
        keep_open=keep_open,
        more={REBUILD_DATES: dates},
    )


def dbt_test(settings: Settings, *, keep_open: tuple[int, ...] = ()) -> DbtResult:
    """Run all data tests on all rows of the warehouse, which the caller has locked and closed.

    :param keep_open: file descriptors that dbt inherits, such as the lock's.
    :raises BuildFailed: a test failed.
    """
    return _run_nodes(
        settings,
        *("test", "--exclude-resource-type", "unit_test", "--vars", "full_table: true"),
        keep_open=keep_open,
    )


def _run_nodes(
    settings: Settings,
    *arguments: str,
    keep_open: tuple[int, ...],
    more: Mapping[str, str] | None = None,
) -> DbtResult:
    """Run a dbt command that writes run_results.json; raise `BuildFailed` if a node failed."""
    name, target = arguments[0], folder(settings)
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    done = run_dbt(settings, *arguments, keep_open=keep_open, more=more)
    try:
        result = read_results(json.loads(results.read_text())) if results.exists() else None
    except (ValueError, KeyError) as error:
        log.error("output of dbt:\n%s", _output(done)[-8000:])
        raise BuildFailed(
            f"dbt {name} ended with exit code {done.returncode}, and its results {results} cannot "
            f"be read: {error}. If the disk is full, free some space; the next load builds again."
        ) from None
    if done.returncode == 0 and result is not None:
        return result
    if result is not None and result.failures:
        raise BuildFailed(
            f"dbt {name} failed: {'; '.join(result.failures)}. Its log: {target}/dbt.log."
        )
    output = _output(done)
    log.error("output of dbt:\n%s", output[-8000:])
    last = output.splitlines()[-1] if output else "it printed nothing"
    raise BuildFailed(
        f"dbt {name} ended with exit code {done.returncode} before any node: {last.rstrip('.!')}. "
        f"Its log: {target}/dbt.log."
    )


def _output(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip()


def run_dbt(
    settings: Settings,
    *arguments: str,
    keep_open: tuple[int, ...] = (),
    more: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a dbt command in a subprocess and wait for it.

    :param keep_open: file descriptors that dbt inherits.
    :param more: variables of its environment.
    """
    command = [
        *(sys.executable, "-m", "app.warehouse.dbt_process"),
        *("--quiet", "--no-use-colors", *arguments, "--target", settings.warehouse),
    ]
    folder(settings).mkdir(parents=True, exist_ok=True)
    with _plain_path(settings.warehouse_path) as (path, opened):
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=environment(settings, os.environ) | {"DUCKDB_PATH": path} | dict(more or {}),
            pass_fds=(*keep_open, *opened),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )


@contextmanager
def _plain_path(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path for dbt, which reads it as a URL and takes the database's name from it.

    In a folder with a `#` in its path that name would be wrong. There the path goes through the
    open folder (Linux), which the child process must inherit; elsewhere it stays as it is, as dbt
    parses its project again when it changes.

    :returns: the path, and the file descriptors to inherit.
    """
    if urlsplit(str(path)).path == str(path):
        yield str(path), ()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{path.name}", (opened,)
    finally:
        os.close(opened)


def folder(settings: Settings) -> Path:
    """The folder of dbt's artifacts and log, outside the repository."""
    return settings.home / "dbt"


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of the dbt process: `base` without our secrets, plus paths and settings."""
    dropped = {name.upper() for name in Settings.secret_names()} | {BUILT_LOAD, REBUILD_DATES}
    target = str(folder(settings))
    kept = {name: value for name, value in base.items() if name.upper() not in dropped}
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
    """The Snowflake settings that are set, as the variables that profiles.yml reads.

    Contains secrets, when Snowflake is the warehouse: never log them.
    """
    named = [name for name in Settings.model_fields if name.startswith("snowflake_")]
    if settings.warehouse != "snowflake":
        named = [name for name in named if name not in Settings.secret_names()]
    values = ((name.upper(), getattr(settings, name)) for name in named)
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values
        if value is not None
    } | {"SNOWFLAKE_DATABASE": settings.warehouse_database}


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
