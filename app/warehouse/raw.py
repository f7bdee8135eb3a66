"""Tables of schema RAW: one per dataset of the lake, and the ledgers.

Types are those that DuckDB and Snowflake share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.types as pt

from app.lake import ADDED, DATASETS, RENAMED

MOMENT = "datetime"
"""The type of a UTC time: DuckDB's TIMESTAMP, and Snowflake's TIMESTAMP_NTZ. Which type Snowflake's
`timestamp` is depends on the session that creates the table (TIMESTAMP_TYPE_MAPPING)."""
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
    "loaded_at": MOMENT,
}
BUILD_LEDGER = {
    "load_id": "bigint",
    "started_at": MOMENT,
    "finished_at": MOMENT,
    "status": "varchar",  # built, failed, rebuilding
    "project": "varchar",
    "detail": "varchar",
}
RETRY_COMMAND = "tickhouse load --retry-rejected"
REJECTED_OBJECTS = (
    "select object_key, dataset, etag, size_bytes, reason, loaded_at as rejected_at, "
    f"'{RETRY_COMMAND}' as retry_command from RAW.LOAD_LEDGER where status = 'rejected'"
)
"""Query of the view that lists the quarantine of objects."""
REJECTED_VIEW = "RAW.REJECTED_OBJECTS"
SESSION_DATES = """
select cast(day as varchar), sum(row_count) from (
    select try_cast(session_date as date) as day, count(*) as row_count from RAW.TRADES group by 1
    union all
    select try_cast(session_date as date) as day, count(*) as row_count from RAW.CANDLES group by 1
    union all
    select try_cast(session_date as date) as day, count(*) as row_count from RAW.QUOTES group by 1
    union all
    select cast(coalesce(minute_start, watermark) as date) as day, count(*) as row_count
    from RAW.COVERAGE group by 1
) as counted
where day is not null
group by day
order by day
"""
"""Query of the session dates of RAW; of coverage, which has none, the UTC dates."""
NEWEST_LOAD = "select coalesce(max(load_id), 0) from RAW.LOAD_LEDGER"
LAST_BUILD = """
select load_id, started_at, finished_at, status, project, detail
from RAW.BUILD_LEDGER
where status = 'built'
order by finished_at desc, load_id desc
limit 1
"""
BUILDS_AFTER_LAST = """
select load_id, started_at, finished_at, status, project, detail
from RAW.BUILD_LEDGER
where finished_at > coalesce(
    (select max(finished_at) from RAW.BUILD_LEDGER where status = 'built'),
    cast('1970-01-01' as timestamp)
)
order by finished_at
"""
LOAD_COLUMNS = {"_object": "varchar", "_load_id": "bigint", "_loaded_at": MOMENT}
"""Columns that the load adds to each row."""


def table_of(dataset: str) -> str:
    """The RAW table of a dataset."""
    return f"RAW.{dataset.upper()}"


def column_type(kind: pa.DataType) -> str:
    """The SQL type of an Arrow type, valid in DuckDB and Snowflake."""
    if pt.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pt.is_timestamp(kind):
        return MOMENT
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
    """Statements that create schema RAW in DuckDB, or add what an earlier version of it lacks."""
    return ["create schema if not exists RAW", *table_statements({})]


def raw_tables(more: dict[str, str]) -> dict[str, dict[str, str]]:
    """The tables of RAW, with their columns and types.

    :param more: further columns of the datasets' tables, with their types.
    """
    tables = {table_of(dataset): columns_of(dataset) | more for dataset in DATASETS}
    return tables | {"RAW.LOAD_LEDGER": LOAD_LEDGER, "RAW.BUILD_LEDGER": BUILD_LEDGER}


def table_statements(more: dict[str, str]) -> list[str]:
    """Statements that create the tables of RAW, or add what an earlier version of them lacks.

    :param more: further columns of the datasets' tables, with their types.
    """
    return [
        *(_create(*table) for table in raw_tables(more).items()),
        *(_add(dataset, name) for dataset, names in ADDED.items() for name in names),
        f"create or replace view {REJECTED_VIEW} as {REJECTED_OBJECTS}",
    ]


def renames(existing: Mapping[str, Collection[str]]) -> list[str]:
    """Statements that rename columns of RAW tables which an earlier version created.

    :param existing: the columns of each dataset's table, in lower case; none for a missing table.
    """
    return [
        f'alter table {table_of(dataset)} rename column "{old}" to {new}'
        for dataset, columns in RENAMED.items()
        for old, new in columns.items()
        if old in existing.get(dataset, ())
    ]


def _create(table: str, columns: dict[str, str]) -> str:
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"create table if not exists {table} ({listed})"


def _add(dataset: str, column: str) -> str:
    kind = columns_of(dataset)[column]
    return f"alter table {table_of(dataset)} add column if not exists {column} {kind}"
