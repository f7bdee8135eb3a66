"""The audit: every candle whose inputs are loaded, recomputed in SQL from the warehouse's trades.

The SQL (dbt_stocks/macros/audit_candles.sql, audit_rollups.sql) shares no code with the candles
application, only the table of sale conditions, which is written from `app.market.conditions` by
`python -m app.warehouse.seeds`. It runs beside the minute's build, never in it.
"""

from __future__ import annotations

import json
from datetime import date
from typing import NamedTuple

from app.settings import Settings
from app.warehouse.lock import exclusive
from app.warehouse.transform import BuildFailed, run_dbt


class Difference(NamedTuple):
    """A candle that is not what its trades or minutes make, and the first field that differs."""

    symbol: str
    interval: str
    window_start: str
    field: str


class AuditReport(NamedTuple):
    """How many candles and rollups were recomputed, how many differ, and the first of these."""

    compared: int
    rollups: int
    differing: int
    differences: list[Difference]


def audit(settings: Settings, since: date | None = None) -> AuditReport:
    """Compare silver's candles with its trades, and the stream's rollups with silver's.

    :param since: the first session date to look at; all without it.
    :raises BuildFailed: the audit could not run.
    """
    arguments = json.dumps({"since": since.isoformat()} if since else {})
    with exclusive(settings.warehouse_path, "audit") as lock:
        done = run_dbt(
            settings, "run-operation", "audit_candles", "--args", arguments, keep_open=(lock,)
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("AUDIT ")]
    if done.returncode != 0 or not lines:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise BuildFailed(f"the audit could not run: {''.join(last)} Build the warehouse first.")
    found = json.loads(lines[-1].removeprefix("AUDIT "))
    return AuditReport(
        found["candles"],
        found["rollups"],
        found["differing"],
        [Difference(*d) for d in found["differences"]],
    )
