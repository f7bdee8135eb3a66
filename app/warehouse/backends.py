"""Open the warehouse that the setting WAREHOUSE names."""

from __future__ import annotations

from app.settings import Settings
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import Warehouse


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
