"""Tables of schema RAW: one per dataset of the lake, and the ledgers.

Types are those that DuckDB and Snowflake share.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from app.lake import ADDED, DATASETS

LOAD_LEDGER = {
    "object_key": "varchar",
    "dataset": "varchar",
    "incarnation": "varchar",
    "partition_number": "integer",
    "first_offset": "bigint",
    "last_offset": "bigint",
    "etag": "varchar",
    "size_bytes": "bigint",
    "row_count": "bigint",
    "status": "varchar",  # loaded, rejected
    "reason": "varchar",  # why it was rejected
    "load_id": "bigint",
    "loaded_at": "timestamp",
}
BUILD_LEDGER = {
    "load_id": "bigint",
    "started_at": "timestamp",
    "finished_at": "timestamp",
    "status": "varchar",  # built, failed
    "project": "varchar",
    "detail": "varchar",
}
LOAD_COLUMNS = {"_object": "varchar", "_load_id": "bigint", "_loaded_at": "timestamp"}
"""Columns that the load adds to each row."""


def table_of(dataset: str) -> str:
    """The RAW table of a dataset."""
    return f"RAW.{dataset.upper()}"


def column_type(kind: pa.DataType) -> str:
    """The SQL type of an Arrow type, valid in DuckDB and Snowflake."""
    if pt.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pt.is_timestamp(kind):
        return "timestamp"
    if pt.is_string(kind):
        return "varchar"
    if pt.is_int32(kind):
        return "integer"
    if pt.is_int64(kind):
        return "bigint"
    if pt.is_float64(kind):
        return "double"
    raise TypeError(f"no column type for {kind}")


def columns_of(dataset: str) -> dict[str, str]:
    """The columns of a dataset's RAW table with their SQL types."""
    return {field.name: column_type(field.type) for field in DATASETS[dataset]} | LOAD_COLUMNS


def setup_statements() -> list[str]:
    """Statements that create schema RAW, or add what an earlier version of it lacks."""
    tables = {table_of(dataset): columns_of(dataset) for dataset in DATASETS}
    tables |= {"RAW.LOAD_LEDGER": LOAD_LEDGER, "RAW.BUILD_LEDGER": BUILD_LEDGER}
    return [
        "create schema if not exists RAW",
        *(_create(*table) for table in tables.items()),
        *(_add(dataset, name) for dataset, names in ADDED.items() for name in names),
    ]


def _create(table: str, columns: dict[str, str]) -> str:
    listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    return f"create table if not exists {table} ({listed})"


def _add(dataset: str, column: str) -> str:
    kind = columns_of(dataset)[column]
    return f"alter table {table_of(dataset)} add column if not exists {column} {kind}"


def quoted(name: str) -> str:
    """`name` as an SQL identifier; of our columns only `interval` needs quotes."""
    return '"interval"' if name == "interval" else name
