"""Audit: recompute every candle whose inputs are loaded, in SQL from the warehouse's trades.

The SQL (dbt_stocks/macros/audit.sql, audit_candles.sql, audit_rollups.sql) shares no code with the
candles application, only the table of sale conditions, which `python -m app.warehouse.seeds`
generates from `app.market.conditions`. The audit runs on its own, not as part of a build.
"""

from __future__ import annotations

import json
import subprocess
from datetime import date
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.errors import TickhouseError
from app.settings import Settings
from app.warehouse.lock import exclusive
from app.warehouse.progress import AuditProgress, now_ms, record_audit
from app.warehouse.transform import BuildFailed, run_dbt

SHOWN = 100
"""Number of differences of one-minute candles, and of rollups, that a report names by default."""


class AuditFailed(TickhouseError):
    """Candles differ from their trades, or there was nothing to compare."""


class Difference(NamedTuple):
    """A candle that differs from the one recomputed, and the first field that differs."""

    kind: str
    """wrong: a field differs; missing: its trades are loaded, and there is no candle; surplus: a
    candle without trades or quotes"""
    symbol: str
    interval: str
    window_start: str
    """UTC"""
    field: str | None
    found: str | None
    expected: str | None


class AuditReport(NamedTuple):
    """Number of candles and rollups compared, number that differ, and the first of these."""

    compared: int
    rollups: int
    differing: int
    differences: list[Difference]

    @property
    def failure(self) -> str | None:
        """A sentence when candles differ or none could be compared, else None."""
        if self.differing:
            first = self.differences[0]
            return (
                f"{self.differing:,} of {self.compared + self.rollups:,} candles differ from what "
                f"their trades make; the first: {_sentence(first)}"
            )
        if not self.compared:
            return (
                "There was no candle to compare: the warehouse has no trades and candles of these "
                "session dates. Run `tickhouse load`, or audit other dates."
            )
        return None

    def require_equal(self) -> None:
        """Do nothing when candles were compared and all are equal.

        :raises AuditFailed: candles differ, or none could be compared.
        """
        if self.failure:
            raise AuditFailed(self.failure)


def audit(
    settings: Settings, since: date | None = None, until: date | None = None, shown: int = SHOWN
) -> AuditReport:
    """Compare silver's candles with its trades, and its rollups with its minutes.

    The result is part of the pipeline's health, unless the newest session dates are left out.

    :param since: the first session date to audit; by default all.
    :param until: the last session date to audit; by default all.
    :param shown: the largest number of differences to list, of minutes and of rollups each.
    :raises BuildFailed: the audit could not run.
    """
    arguments: dict[str, object] = {
        "allowed_lateness_ms": settings.candle_allowed_lateness_ms,
        "examples": shown,
    }
    dates = {"since": since, "until": until}
    arguments |= {name: day.isoformat() for name, day in dates.items() if day}
    with exclusive(settings.warehouse_path, "audit") as lock:
        done = run_dbt(
            settings, "run-operation", "audit", "--args", json.dumps(arguments), keep_open=(lock,)
        )
        report = _report(done)
        if until is None:
            compared = report.compared + report.rollups
            record_audit(settings, AuditProgress(now_ms(), compared, report.failure))
    return report


def _report(done: subprocess.CompletedProcess[str]) -> AuditReport:
    """Read what the audit printed.

    :raises BuildFailed: it did not run.
    """
    lines = [line for line in done.stdout.splitlines() if line.startswith("AUDIT ")]
    if done.returncode != 0 or not lines:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise BuildFailed(f"The audit could not run: {''.join(last)} Build the warehouse first.")
    found = json.loads(lines[-1].removeprefix("AUDIT "))
    return AuditReport(
        found["candles"],
        found["rollups"],
        found["differing"],
        [Difference(*d) for d in found["differences"]],
    )


def run(
    settings: Settings, since: date | None = None, until: date | None = None, shown: int = SHOWN
) -> None:
    """Run `tickhouse audit`: audit, print every difference listed, and fail if there is one.

    :raises AuditFailed: candles differ, or none could be compared.
    """
    report = audit(settings, since, until, shown)
    show(report, Console())
    report.require_equal()


def show(report: AuditReport, console: Console) -> None:
    """Print a row per difference, and how many candles were compared."""
    table = Table("", "symbol", "interval", "window start (UTC)", "field", "found", "expected")
    for difference in report.differences:
        table.add_row(*(escape(value or "") for value in difference))
    if report.differences:
        console.print(table)
    console.print(
        f"compared {report.compared:,} one-minute candles with their trades and "
        f"{report.rollups:,} longer ones with their minutes: {report.differing:,} differ"
    )


def _sentence(difference: Difference) -> str:
    name = f"{difference.symbol} {difference.interval} {difference.window_start}"
    if difference.field is None:
        return f"{name} is {difference.kind}."
    return f"{name} has {difference.field} {difference.found} instead of {difference.expected}."
