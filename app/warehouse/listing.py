"""What the ledger knows, in a file beside the warehouse: a listing of the lake need not open it.

While dbt builds, no other process can open a DuckDB file. So each load writes what a listing needs
into this file. A file older than the ledger is harmless, as the load skips objects of the ledger. A
file newer than the ledger shows that the warehouse was restored from a copy; the load then lists
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from app.lake import ObjectKey
from app.outputs import write_atomically
from app.settings import Settings
from app.warehouse.interface import (
    RELISTED_KEYS,
    LakeObject,
    LedgerEntry,
    PartitionFolder,
    RejectedObject,
    Warehouse,
)


class Listing(NamedTuple):
    """The state of the ledger after load `load_id`."""

    load_id: int
    loaded: dict[PartitionFolder, list[str]]
    """the last keys of each folder, as `Warehouse.loaded_keys` returns them"""
    rejected: list[RejectedObject]
    """in order of their keys"""

    def after(self, load_id: int, entries: Iterable[LedgerEntry]) -> Listing:
        """The listing once the ledger has `entries` as well, up to load `load_id`."""
        loaded = {folder: set(keys) for folder, keys in self.loaded.items()}
        rejected = {str(item.object.key): item for item in self.rejected}
        for item, _, reason in entries:
            folder = PartitionFolder(item.key.dataset, item.key.incarnation, item.key.partition)
            loaded.setdefault(folder, set()).add(str(item.key))
            rejected.pop(str(item.key), None)
            if reason is not None:
                rejected[str(item.key)] = RejectedObject(item, reason)
        return Listing(
            load_id,
            {folder: sorted(keys)[-RELISTED_KEYS:] for folder, keys in loaded.items()},
            [rejected[key] for key in sorted(rejected)],
        )


def listing_path(settings: Settings) -> Path:
    """The file of this namespace's listing."""
    return settings.warehouse_path.with_suffix(".listing.json")


def read_listing(path: Path) -> Listing | None:
    """Read the file; None if it does not exist or another version wrote it."""
    try:
        content = json.loads(path.read_text())
        return Listing(
            content["load_id"],
            {PartitionFolder(*folder): keys for folder, keys in content["loaded"]},
            [
                RejectedObject(LakeObject(ObjectKey.of(key), etag, size), reason)
                for key, etag, size, reason in content["rejected"]
            ],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def listing_of(warehouse: Warehouse) -> Listing:
    """The listing of the whole ledger of an open warehouse."""
    return Listing(warehouse.newest_load(), warehouse.loaded_keys(), warehouse.rejected())


def write_listing(path: Path, listing: Listing) -> Listing:
    """Write the file, and return what it holds."""
    content = {
        "load_id": listing.load_id,
        "loaded": list(listing.loaded.items()),
        "rejected": [
            (str(item.key), item.etag, item.size, reason) for item, reason in listing.rejected
        ],
    }
    write_atomically(path, json.dumps(content))
    return listing
