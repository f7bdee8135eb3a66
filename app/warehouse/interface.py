"""What a warehouse must do; DuckDB and Snowflake do it each in their own words.

Database STOCKS. Schema RAW holds a table a dataset of the lake, as it lay there, and two ledgers:
LOAD_LEDGER, a row an object, written in the transaction of its rows, and BUILD_LEDGER, a row a
build. Loads are numbered; `_load_id` on every row says which one brought it, so that a build looks
only at what came after the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from app.errors import TickhouseError
from app.lake import ObjectKey
from app.settings import Settings

LOOK_BACK = 50
"""How many of the last loaded objects of a folder are listed again. One listing shows up to 1,000,
so it costs no request, and an object that came late, under a lower name, is still found."""


class WarehouseError(TickhouseError):
    """The warehouse is not usable as it is set up."""


class Folder(NamedTuple):
    """Where objects of one dataset, incarnation and partition lie; their names rise with time."""

    dataset: str
    incarnation: str
    partition: int


class LakeObject(NamedTuple):
    """An object of the lake, by its key (without the namespace's prefix)."""

    key: ObjectKey
    etag: str
    size: int


class Fetched(NamedTuple):
    """An object with its rows, or with the reason why they cannot be loaded."""

    object: LakeObject
    rows: pa.Table | None
    reason: str | None = None


class Build(NamedTuple):
    """A build: everything up to load `load_id` is in silver and gold."""

    load_id: int
    started_at: datetime
    finished_at: datetime
    status: str
    """built or failed"""
    project: str
    """fingerprint of the dbt project that built it"""
    detail: str


class Warehouse(Protocol):
    """An open warehouse, its RAW schema in place."""

    def loaded_keys(self) -> dict[Folder, list[str]]:
        """The last `LOOK_BACK` keys of each folder that the ledger holds, refused ones too."""

    def not_loaded(self, objects: Sequence[LakeObject]) -> list[LakeObject]:
        """Those of `objects` that the ledger does not hold, in their order."""

    def load(self, batch: Sequence[Fetched], loaded_at: datetime) -> int:
        """Write the rows and the ledger's rows of `batch` in one transaction.

        :returns: the number of this load.
        """

    def newest_load(self) -> int:
        """The number of the newest load, 0 before the first."""

    def last_build(self) -> Build | None:
        """The last build that succeeded."""

    def record_build(self, build: Build) -> None:
        """Note a build in the ledger."""

    def publish(self, path: Path) -> None:
        """Write what readers need of gold into a new file at `path`."""

    def close(self) -> None:
        """Let go of it."""


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse that WAREHOUSE names, created when it is not there. Hold its lock.

    :raises WarehouseError: it cannot be had.
    """
    if settings.warehouse == "snowflake":
        raise WarehouseError(
            "WAREHOUSE=snowflake: loading into Snowflake is not part of this version yet. Set "
            "WAREHOUSE=duckdb."
        )
    from app.warehouse.duckdb_backend import DuckDBWarehouse

    return DuckDBWarehouse(settings.warehouse_path)
