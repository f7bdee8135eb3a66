"""Rows of the load ledger, the same in every backend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.warehouse.interface import Build, LedgerEntry


def ledger_row(entry: LedgerEntry, load_id: int, loaded_at: datetime) -> dict[str, Any]:
    """The row of RAW.LOAD_LEDGER of an object, by column."""
    key, etag, size = entry.object
    return {
        "object_key": str(key),
        "dataset": key.dataset,
        "incarnation": key.incarnation,
        "partition_number": key.partition,
        "first_offset": key.first_offset,
        "last_offset": key.last_offset,
        "etag": etag,
        "size_bytes": size,
        "row_count": entry.row_count,
        "status": "loaded" if entry.reason is None else "rejected",
        "reason": entry.reason,
        "load_id": load_id,
        "loaded_at": loaded_at,
    }


def build_of(row: tuple[Any, ...]) -> Build:
    """The build of a row of RAW.BUILD_LEDGER, whose times are UTC."""
    load_id, started_at, finished_at, *rest = row
    return Build(
        int(load_id), started_at.replace(tzinfo=UTC), finished_at.replace(tzinfo=UTC), *rest
    )


def utc(moment: datetime) -> datetime:
    """Convert to UTC without a time zone, as the warehouse stores times."""
    return moment.astimezone(UTC).replace(tzinfo=None)
