"""Entry points for an orchestrator: the steps of the warehouse with the settings of the process.

Each logs what it did in sentences. The DAGs import this module when their tasks run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from app.settings import load_settings
from app.warehouse import airflow_cleanup, commands, maintenance
from app.warehouse import audit as auditing
from app.warehouse.audit import AuditReport
from app.warehouse.compaction import CompactionReport
from app.warehouse.progress import read_progress
from app.warehouse.published import current_path
from app.warehouse.reports import BuildReport, LoadReport
from app.warehouse.transform import DbtResult

log = logging.getLogger("tickhouse.tasks")

AUDITED = timedelta(days=4)
"""Before today: the session dates of an audit without parameters."""


def extract(limit: int | None = None) -> list[tuple[str, str, int]]:
    """List the key, etag and size of the lake's objects to load: new ones, and repaired ones.

    :param limit: the largest number of objects to list.
    """
    found = commands.extract(load_settings(), limit)
    size = sum(size for _, _, size in found)
    log.info("The lake has %d objects to load, %d kB.", len(found), size // 1000)
    return found


def load(listed: Iterable[tuple[str, str, int]]) -> LoadReport:
    """Load the objects that `extract` listed into RAW."""
    report = commands.load(load_settings(), listed)
    for sentence in report.sentences():
        log.info(sentence)
    return report


def build() -> BuildReport:
    """Run `dbt build` on what changed since the last build, and publish gold.

    :raises BuildFailed: a model or a test failed; readers keep the last good gold.
    """
    report = commands.build(load_settings())
    for sentence in report.sentences():
        log.info(sentence)
    return report


def compact_lake(day: date | None = None) -> CompactionReport:
    """Write the objects of `hourly/` that are missing or out of date.

    :param day: only the hours of this UTC day; by default all that have rows in RAW.
    """
    report = maintenance.compact_lake(load_settings(), datetime.now(UTC), day)
    log.info(report.sentence(day))
    return report


def apply_retention() -> None:
    """Delete rows of RAW, silver's trades, and objects of `bronze/` older than their retention."""
    maintenance.apply_retention(load_settings(), datetime.now(UTC))


def clean_airflow_database() -> None:
    """Remove old records of Airflow's own database.

    :raises CleanupFailed: `airflow db clean` failed.
    """
    airflow_cleanup.clean_database(load_settings(), datetime.now(UTC))


def remove_airflow_logs(folder: str) -> int:
    """Remove old log files under `folder`; return their number."""
    return airflow_cleanup.remove_logs(Path(folder), load_settings(), datetime.now(UTC))


def is_build_recorded() -> bool:
    """Whether a build has ended, well or not; asked without opening the warehouse."""
    settings = load_settings()
    progress = read_progress(settings)
    if progress.build or progress.failed_build or current_path(settings):
        return True
    log.info(
        "Nothing has been built yet, so there is nothing to test. stock_transform builds after the "
        "first load; the next run tests what it built."
    )
    return False


def data_tests() -> DbtResult:
    """Run all data tests on all rows, not only on those of the last load.

    :raises BuildFailed: a test failed; the message names each with its reason.
    """
    result = commands.data_tests(load_settings())
    log.info("All %d data tests passed on all rows.", result.tests)
    return result


def audited_dates(
    since: str | None, until: str | None, today: date
) -> tuple[date | None, date | None]:
    """The first and last session date to audit by the parameters of a run; None for no limit.

    :param since: ISO date, like `until`; without both, the last days up to `today`.
    """
    if not since and not until:
        return today - AUDITED, None
    return (
        date.fromisoformat(since) if since else None,
        date.fromisoformat(until) if until else None,
    )


def audit(since: date | None = None, until: date | None = None) -> AuditReport:
    """Compare candles with the trades they were made of, within these session dates.

    :raises AuditFailed: candles differ, or none could be compared.
    """
    report = auditing.audit(load_settings(), since, until)
    report.require_equal()
    log.info("%d candles and %d rollups compared; all equal.", report.compared, report.rollups)
    return report
