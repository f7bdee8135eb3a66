"""Open the warehouse that the setting WAREHOUSE names."""

from __future__ import annotations

from app.settings import Settings
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import Warehouse, WarehouseError


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse, creating it when it does not exist. The caller holds its lock.

    :raises WarehouseError: the backend is not available, or its database cannot be opened.
    """
    if settings.warehouse == "snowflake":
        raise WarehouseError(
            "WAREHOUSE=snowflake: loading into Snowflake is not part of this version yet. Set "
            "WAREHOUSE=duckdb."
        )
    return DuckDBWarehouse(settings.warehouse_path)
