"""Objects that the loader accepts and rejects."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.lake import ADDED, DATASETS, RENAMED, ObjectKey
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import FetchedObject, LakeObject
from app.warehouse.loader import batches
from app.warehouse.objects import REQUIRED, read_object, schema_reason
from app.warehouse.raw import columns_of, setup_statements, table_of

MOMENT = datetime(2024, 3, 5, tzinfo=UTC)


def item(dataset: str) -> LakeObject:
    return LakeObject(ObjectKey(dataset, "incarnation", 0, 0, 0), "etag", 1)


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_object_with_the_datasets_schema_is_accepted(dataset: str) -> None:
    fetched = read_object(item(dataset), parquet(DATASETS[dataset].empty_table()))

    assert fetched.reason is None
    assert fetched.rows is not None


@pytest.mark.parametrize("dataset", ADDED)
def test_an_object_of_an_earlier_version_has_nulls_in_added_columns(
    dataset: str,
) -> None:
    older = DATASETS[dataset].empty_table().drop_columns(list(ADDED[dataset]))

    fetched = read_object(item(dataset), parquet(older))

    assert fetched.rows is not None
    assert fetched.rows.schema.equals(DATASETS[dataset])


@pytest.mark.parametrize("dataset", RENAMED)
def test_an_object_of_an_earlier_version_has_the_same_columns_by_other_names(
    dataset: str,
) -> None:
    earlier = {new: old for old, new in RENAMED[dataset].items()}
    table = DATASETS[dataset].empty_table()
    older = table.rename_columns([earlier.get(name, name) for name in table.column_names])

    fetched = read_object(item(dataset), parquet(older))

    assert fetched.rows is not None
    assert fetched.rows.schema.equals(DATASETS[dataset])


@pytest.mark.parametrize("dataset", DATASETS)
def test_required_columns_are_columns(dataset: str) -> None:
    assert set(REQUIRED[dataset]) <= set(DATASETS[dataset].names)


def test_the_reason_names_the_differences() -> None:
    wanted = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.string())])
    found = pa.schema([("a", pa.int32()), ("b", pa.string()), ("d", pa.string())])

    assert schema_reason(found, wanted) == (
        "columns are missing: c; columns are not known: d; a is int32 instead of int64"
    )
    assert schema_reason(pa.schema(list(reversed(wanted))), wanted) == (
        "its columns are in another order"
    )
    assert schema_reason(wanted.with_metadata({"k": "v"}), wanted) is None


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_that_is_not_parquet_is_rejected(body: bytes) -> None:
    fetched = read_object(item("trades"), body)

    assert fetched.rows is None
    assert fetched.reason is not None
    assert "not a readable Parquet file" in fetched.reason


def test_batches_close_at_their_bounds() -> None:
    table = pa.table({"x": pa.array(range(1000))})
    items = [FetchedObject(item("trades"), table) for _ in range(5)]

    assert [len(b) for b in batches(items, max_bytes=2 * table.nbytes)] == [2, 2, 1]
    assert [len(b) for b in batches(items, max_objects=3)] == [3, 2]
    assert list(batches([])) == []


@pytest.mark.parametrize("dataset", DATASETS)
def test_raw_tables_have_the_columns_of_the_lake(dataset: str) -> None:
    db = duckdb.connect()
    for statement in setup_statements() * 2:
        db.execute(statement)
    found = db.execute(
        "select column_name from duckdb_columns() where schema_name = 'RAW' "
        "and table_name = upper(?) order by column_index",
        [dataset],
    ).fetchall()

    assert [name for (name,) in found] == list(columns_of(dataset))


@pytest.mark.parametrize("dataset", ADDED)
def test_a_raw_table_of_an_earlier_version_gains_what_was_added(dataset: str) -> None:
    db = duckdb.connect()
    for statement in setup_statements():
        db.execute(statement)
    for column in ADDED[dataset]:
        db.execute(f"alter table {table_of(dataset)} drop column {column}")
    for statement in setup_statements():
        db.execute(statement)

    found = {
        name: kind.lower()
        for name, kind, *_ in db.execute(f"describe {table_of(dataset)}").fetchall()
    }

    assert set(found) == set(columns_of(dataset))
    assert {name: found[name].replace(",", ", ") for name in ADDED[dataset]} == {
        name: columns_of(dataset)[name] for name in ADDED[dataset]
    }


def test_a_warehouse_of_an_earlier_version_has_its_columns_renamed(tmp_path: Path) -> None:
    path = tmp_path / "STOCKS.duckdb"
    with duckdb.connect(path) as db:
        for statement in setup_statements():
            db.execute(statement)
        for dataset, columns in RENAMED.items():
            for old, new in columns.items():
                db.execute(f'alter table {table_of(dataset)} rename column {new} to "{old}"')
    for _ in range(2):
        DuckDBWarehouse(path).close()
    with duckdb.connect(path) as db:
        for dataset in RENAMED:
            described = db.execute(f"describe {table_of(dataset)}").fetchall()
            assert [name for name, *_ in described] == list(columns_of(dataset))


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_column_is_a_keyword(dataset: str) -> None:
    """Quoted, a name in lower case would be another column in Snowflake than in DuckDB."""
    keywords = duckdb.sql(
        "select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
    ).fetchall()
    of_snowflake = {"account", "connection", "database", "increment", "issue", "organization"}

    assert not set(columns_of(dataset)) & ({word for (word,) in keywords} | of_snowflake)
