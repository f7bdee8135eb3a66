"""From the lake into schema RAW: what is new, each object once, with its line in the ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from app.warehouse.interface import Fetched, LakeObject, Warehouse
from app.warehouse.objects import Lake

log = logging.getLogger("tickhouse.load")

BATCH_BYTES = 64 * 1024 * 1024
BATCH_OBJECTS = 500


class Loaded(NamedTuple):
    """What one load did."""

    objects: int
    rows: dict[str, int]
    """by dataset"""
    refused: dict[str, str]
    """reason by key"""


def load_objects(
    warehouse: Warehouse, lake: Lake, objects: Iterable[LakeObject], now: datetime
) -> Loaded:
    """Load `objects` in order, several in a transaction; what cannot be read is noted as refused.

    Objects that the ledger holds by now are left out, so a list from an earlier moment does no
    harm.
    """
    wanted = warehouse.not_loaded(list(objects))
    count, rows, refused = 0, Counter[str](), dict[str, str]()
    for batch in batches(lake.fetch(wanted)):
        for fetched in batch:
            key = fetched.object.key
            if fetched.rows is None:
                refused[str(key)] = fetched.reason or ""
                log.error("%s is refused and the load goes on: %s", key, fetched.reason)
            else:
                rows[key.dataset] += fetched.rows.num_rows
        count += len(batch)
        load_id = warehouse.load(batch, now)
        log.info("load %d: %d objects", load_id, len(batch))
    return Loaded(count, dict(rows), refused)


def batches(
    items: Iterable[Fetched], max_bytes: int = BATCH_BYTES, max_objects: int = BATCH_OBJECTS
) -> Iterator[list[Fetched]]:
    """`items` in runs that fit in memory: up to `max_objects`, and closed once past `max_bytes`."""
    batch: list[Fetched] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.rows.nbytes if item.rows is not None else 0
        if size >= max_bytes or len(batch) >= max_objects:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
