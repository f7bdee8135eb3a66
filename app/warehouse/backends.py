"""Open the warehouse that the setting WAREHOUSE names."""

from __future__ import annotations

from app.lake import DATASETS
from app.settings import Settings
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import Warehouse, WarehouseError
from app.warehouse.raw import table_of

_OF_ONE_FEED = tuple(name for name in DATASETS if name != "rejected")
"""Datasets whose rows are of the namespace's feed: messages of another one are rejected."""


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse; DuckDB's is created when it does not exist. The caller holds its lock.

    :raises WarehouseError: its database cannot be opened.
    """
    if settings.warehouse == "snowflake":
        # The connector takes a second to import, which only this backend should cost.
        from app.warehouse.snowflake import SnowflakeWarehouse
        from app.warehouse.snowflake_external import SnowflakeOnLake

        is_external = settings.snowflake_stage == "external"
        return SnowflakeOnLake(settings) if is_external else SnowflakeWarehouse(settings)
    return DuckDBWarehouse(settings.warehouse_path)


def is_billed(settings: Settings) -> bool:
    """Whether a statement costs money: it resumes Snowflake's virtual warehouse for a minute."""
    return settings.warehouse == "snowflake"


def another_warehouse(settings: Settings) -> str:
    """What to do, in words, to use a warehouse other than the one that the settings name."""
    if settings.warehouse == "snowflake":
        return "name another database in SNOWFLAKE_DATABASE and run `tickhouse warehouse init`"
    return "name another folder in DUCKDB_PATH"


def require_feed(warehouse: Warehouse, settings: Settings) -> None:
    """Do nothing if RAW has rows of no other feed than TICKHOUSE_FEED.

    :raises WarehouseError: it has; simulated and live candles would mix in gold.
    """
    rows = warehouse.query(
        " union all ".join(
            f"select feed from (select feed from {table_of(dataset)} limit 1)"
            for dataset in _OF_ONE_FEED
        )
    )
    other = next((feed for (feed,) in rows if feed not in (None, settings.tickhouse_feed)), None)
    if other is not None:
        is_file = settings.warehouse == "duckdb"
        name = settings.warehouse_path if is_file else settings.warehouse_database
        raise WarehouseError(
            f"The warehouse {name} has data of the feed {other}, and TICKHOUSE_FEED is "
            f"{settings.tickhouse_feed}: nothing was loaded, as gold would mix them. Use another "
            f"TICKHOUSE_NAMESPACE, or {another_warehouse(settings)}."
        )
