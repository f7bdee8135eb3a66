"""Read gold from Snowflake once per build, into the file that the page opens.

The file is the cache between Snowflake and the page's visitors: a build asks Snowflake once per
table, and the page nothing, however many browsers are open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from snowflake.connector import errors

from app.settings import Settings
from app.warehouse.published import TABLES, selection
from app.warehouse.snowflake_connection import connect, explained

_BY_CODE: tuple[tuple[frozenset[int], pa.DataType], ...] = (
    (frozenset({1}), pa.float64()),
    (frozenset({2}), pa.string()),
    (frozenset({3}), pa.date32()),
    (frozenset({4, 6, 7, 8}), pa.timestamp("us")),
    (frozenset({13}), pa.bool_()),
)
"""Arrow types by the connector's type codes (FIXED, REAL, TEXT, DATE, TIMESTAMP…, BOOLEAN)."""


def write_gold(settings: Settings, path: Path) -> None:
    """Write the tables of gold that readers need to a new DuckDB file at `path`.

    :raises WarehouseError: Snowflake rejects a query to the reporter's role.
    """
    path.unlink(missing_ok=True)
    connection = connect(settings, settings.snowflake_reporter_role)
    try:
        with duckdb.connect(path) as file:
            file.execute("create schema gold")
            for table, columns in TABLES.items():
                rows = _rows(connection, selection(table, columns, settings.warehouse_database))
                file.register("rows", rows)
                file.execute(f"create table gold.{table} as select * from rows")
                file.unregister("rows")
            file.execute("checkpoint")
    except errors.Error as error:
        path.unlink(missing_ok=True)
        raise explained(settings, error, "Gold could not be read") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        connection.close()


def _rows(connection: Any, query: str) -> pa.Table:
    cursor = connection.cursor().execute(query)
    fields = [
        pa.field(column[0].lower(), _type(column[1], column[5])) for column in cursor.description
    ]
    values = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(fields)
    return pa.Table.from_arrays(
        [
            pa.array(_plain(column, field.type), field.type)
            for column, field in zip(values, fields, strict=True)
        ],
        schema=pa.schema(fields),
    )


def _type(code: int, scale: int | None) -> pa.DataType:
    if code == 0:
        return pa.float64() if scale else pa.int64()
    return next(kind for codes, kind in _BY_CODE if code in codes)


def _plain(values: Any, kind: pa.DataType) -> list[Any]:
    """Decimals as floats or integers, as the file has them."""
    if kind == pa.float64():
        return [None if value is None else float(value) for value in values]
    if kind == pa.int64():
        return [None if value is None else int(value) for value in values]
    return list(values)
