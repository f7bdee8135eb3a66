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
                query = selection(table, columns, settings.warehouse_database)
                write_rows(file, f"gold.{table}", connection.cursor().execute(query))
            file.execute("checkpoint")
    except errors.Error as error:
        path.unlink(missing_ok=True)
        raise explained(settings, error, "Gold could not be read") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        connection.close()


def write_rows(file: duckdb.DuckDBPyConnection, table: str, cursor: Any) -> None:
    """Create `table` in `file` from the result of a query.

    The rows arrive as Arrow, in parts of some megabytes, and are never Python values.
    """
    schema = pa.schema(
        [(column[0].lower(), _type(column[1], column[5])) for column in cursor.description]
    )
    file.register("rows", schema.empty_table())
    file.execute(f"create table {table} as select * from rows")
    for part in cursor.fetch_arrow_batches():
        file.register("rows", _as_stored(part, schema))
        file.execute(f"insert into {table} select * from rows")
    file.unregister("rows")


def _as_stored(part: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in the types of `schema`; the connector chooses narrower ones by their values."""
    columns = [
        column.cast(field.type, safe=not pa.types.is_timestamp(field.type))
        for column, field in zip(part.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _type(code: int, scale: int | None) -> pa.DataType:
    if code == 0:
        return pa.float64() if scale else pa.int64()
    return next(kind for codes, kind in _BY_CODE if code in codes)
