"""Load new objects of the lake into schema RAW, each once, with a row in the ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from app.warehouse.interface import (
    FetchedObject,
    LakeObject,
    LakeReader,
    LedgerEntry,
    Loaded,
    Warehouse,
)
from app.warehouse.objects import Lake
from app.warehouse.raw import RETRY_COMMAND

log = logging.getLogger("tickhouse.load")

BATCH_BYTES = 64 * 1024 * 1024
BATCH_OBJECTS = 500


class LoadResult(NamedTuple):
    """Result of a load."""

    entries: list[LedgerEntry]
    rows: dict[str, int]
    """number of rows by dataset"""
    rejected: dict[str, str]
    """reason by key"""

    @property
    def objects(self) -> int:
        """The number of objects, rejected ones included."""
        return len(self.entries)


def load_objects(
    warehouse: Warehouse,
    lake: Lake,
    objects: Iterable[LakeObject],
    now: datetime,
    *,
    retry_rejected: bool = False,
) -> LoadResult:
    """Load `objects` in order, several per transaction; record unreadable ones as rejected.

    Objects that are in the ledger already are skipped, so `objects` may be out of date.

    :param retry_rejected: load rejected objects again even if their ETag is the ledger's.
    """
    wanted = warehouse.not_loaded(list(objects), retry_rejected=retry_rejected)
    written, rows, rejected = list[LedgerEntry](), Counter[str](), dict[str, str]()
    for load_id, entries in _loads(warehouse, lake, wanted, now):
        for item, row_count, reason in entries:
            if reason is None:
                rows[item.key.dataset] += row_count
                continue
            rejected[str(item.key)] = reason
            log.error(
                "%s is rejected, the load continues: %s. It is tried again when it changes, and "
                "by `%s`.",
                *(item.key, reason.rstrip("."), RETRY_COMMAND),
            )
        written += entries
        log.info("load %d: %d objects", load_id, len(entries))
    return LoadResult(written, dict(rows), rejected)


def _loads(
    warehouse: Warehouse, lake: Lake, wanted: Sequence[LakeObject], now: datetime
) -> Iterator[Loaded]:
    if isinstance(warehouse, LakeReader):
        for start in range(0, len(wanted), BATCH_OBJECTS):
            yield warehouse.load_from_lake(wanted[start : start + BATCH_OBJECTS], now)
    else:
        for batch in batches(lake.fetch(wanted)):
            yield Loaded(warehouse.load(batch, now), [fetched.entry for fetched in batch])


def batches(
    items: Iterable[FetchedObject], max_bytes: int = BATCH_BYTES, max_objects: int = BATCH_OBJECTS
) -> Iterator[list[FetchedObject]]:
    """Split `items` into batches of up to `max_objects`; a batch ends once it has `max_bytes`."""
    batch: list[FetchedObject] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.rows.nbytes if item.rows is not None else 0
        if size >= max_bytes or len(batch) >= max_objects:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
