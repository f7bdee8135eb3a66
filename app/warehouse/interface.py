"""`Warehouse`: the interface that each warehouse backend implements.

The database is STOCKS. Its schema RAW has one table per dataset of the lake, with the rows as they
are there, and two ledgers: LOAD_LEDGER, one row per object, written in the same transaction as the
object's rows, and BUILD_LEDGER, one row per build. Loads are numbered; every row carries the
`_load_id` that brought it, so that a build reads only rows that came after the previous build.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa

from app.errors import TickhouseError
from app.lake import ObjectKey
from app.warehouse.published import Basis

RELISTED_KEYS = 50
"""Number of the last loaded keys of a folder from which listing starts again. A listing returns up
to 1,000 keys, so this costs no request, and finds objects that arrived late under a lower name."""


class WarehouseError(TickhouseError):
    """The warehouse cannot be used with these settings."""


class PartitionFolder(NamedTuple):
    """Where objects of one dataset, incarnation and partition lie; their names rise with time."""

    dataset: str
    incarnation: str
    partition: int


class LakeObject(NamedTuple):
    """An object of the lake, by its key (without the namespace's prefix)."""

    key: ObjectKey
    etag: str
    size: int


class LedgerEntry(NamedTuple):
    """What the ledger has of an object: its number of rows, or the reason it is rejected for."""

    object: LakeObject
    row_count: int
    reason: str | None = None


class FetchedObject(NamedTuple):
    """An object with its rows, or with the reason it is rejected for."""

    object: LakeObject
    rows: pa.Table | None
    reason: str | None = None

    @property
    def entry(self) -> LedgerEntry:
        count = 0 if self.rows is None else self.rows.num_rows
        return LedgerEntry(self.object, count, self.reason)


class RejectedObject(NamedTuple):
    """An object that the ledger has as rejected, as it was then, and the reason."""

    object: LakeObject
    reason: str


class Loaded(NamedTuple):
    """What a load has written into the ledger."""

    load_id: int
    entries: list[LedgerEntry]


class Build(NamedTuple):
    """A build: silver and gold include all loads up to `load_id`."""

    load_id: int
    started_at: datetime
    finished_at: datetime
    status: str
    """built, failed, or rebuilding (see `app.warehouse.rebuild`)"""
    project: str
    """fingerprint of the dbt project that built it"""
    detail: str


class Warehouse(Protocol):
    """An open warehouse, its RAW schema in place."""

    def loaded_keys(self) -> dict[PartitionFolder, list[str]]:
        """The last `RELISTED_KEYS` keys of each folder in the ledger, rejected objects included."""

    def not_loaded(
        self, objects: Sequence[LakeObject], *, retry_rejected: bool = False
    ) -> list[LakeObject]:
        """Those of `objects` that are to be loaded, in the same order.

        These are objects that are not in the ledger, and rejected ones whose ETag differs from the
        ledger's.

        :param retry_rejected: include rejected objects with the same ETag.
        """

    def rejected(self) -> list[RejectedObject]:
        """The objects that the ledger has as rejected, in order of their keys."""

    def load(self, batch: Sequence[FetchedObject], loaded_at: datetime) -> int:
        """Insert the rows of `batch`, and its rows of the ledger, in one transaction.

        The ledger has one row per object: that of an object rejected earlier is replaced.

        :returns: the number of this load.
        """

    def newest_load(self) -> int:
        """The number of the newest load, 0 before the first."""

    def last_build(self) -> Build | None:
        """The last successful build, or None."""

    def builds_after_last(self) -> list[Build]:
        """The builds after the last successful one, oldest first; all if none was successful."""

    def session_dates(self) -> list[tuple[str, int]]:
        """The session dates (ISO) of the rows in RAW, with the number of rows, in order."""

    def record_build(self, build: Build) -> None:
        """Add a build to the ledger."""

    def query(self, sql: str, *, of_dbt: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement of SQL that DuckDB and Snowflake share; return its rows.

        :param of_dbt: its tables are dbt's, those outside RAW, which Snowflake's role for loads
            can neither read nor change.
        """

    def publish(self, path: Path, basis: Basis | None = None) -> bool:
        """Write the tables that readers need into a new file at `path`.

        :param basis: a published file to start from, which a backend may leave unused.
        :returns: whether the new file started from it.
        """

    def close(self) -> None:
        """Close the connection."""


@runtime_checkable
class LakeReader(Protocol):
    """A warehouse that reads the lake's objects itself, so that nobody downloads them for it."""

    def load_from_lake(self, objects: Sequence[LakeObject], loaded_at: datetime) -> Loaded:
        """Like `Warehouse.load`; objects that cannot be read, or lack values, are rejected."""
