"""Daily maintenance: compact the lake, then delete what is older than its retention.

The warehouse's lock is held while the warehouse is open, not while the lake is read and written.
"""

from __future__ import annotations

from datetime import date, datetime

from app.settings import Settings
from app.warehouse.commands import opened
from app.warehouse.compaction import CompactionReport, compact, loaded_hours
from app.warehouse.retention import expire_bronze, expire_raw, expire_trades, loaded_objects


def compact_lake(settings: Settings, now: datetime, day: date | None = None) -> CompactionReport:
    """Write the objects of `hourly/` that are missing or out of date.

    :param day: only the hours of this UTC day; by default all that have rows in RAW.
    """
    with opened(settings, "listing hours to compact") as warehouse:
        hours = loaded_hours(warehouse, now, day)
    return compact(settings, hours)


def apply_retention(settings: Settings, now: datetime) -> None:
    """Delete rows of RAW, silver's trades, and objects of `bronze/` older than their retention.

    Run it after `compact_lake`, which finds the hours to compact in RAW.
    """
    with opened(settings, "retention") as warehouse:
        expire_raw(warehouse, settings, now)
        expire_trades(warehouse, settings, now)
        loaded = loaded_objects(warehouse, settings, now)
    expire_bronze(settings, loaded)
