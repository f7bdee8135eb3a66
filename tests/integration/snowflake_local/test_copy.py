"""PUT, COPY INTO, LIST and REMOVE with the real connector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from app.embedded.s3 import S3Server
from tests.snowflake_local.process import LocalSnowflake

COPY = (
    "copy into ids from @landing{path} {more} "
    "file_format = (type = parquet use_logical_type = true) "
    "match_by_column_name = case_insensitive "
    "include_metadata = (_object = METADATA$FILENAME, _row = METADATA$FILE_ROW_NUMBER) "
    "on_error = abort_statement"
)


@pytest.fixture
def cursor(
    local_snowflake: LocalSnowflake, snowflake_database: str, tmp_path: Path
) -> Iterator[Any]:
    """A cursor in a database with table IDS and stage LANDING, on which lie a, b and c."""
    for start, name in enumerate("abc"):
        pq.write_table(pa.table({"id": [start * 10, start * 10 + 1]}), tmp_path / f"{name}.parquet")
    with local_snowflake.connect(database=snowflake_database, schema="PUBLIC") as connection:
        opened = connection.cursor()
        opened.execute("create table ids (id int, _object varchar, _row int)")
        opened.execute("create stage landing")
        opened.execute(f"put 'file://{tmp_path}/*.parquet' '@landing/run-7' auto_compress = false")
        assert [row[6] for row in opened.fetchall()] == ["UPLOADED"] * 3
        yield opened


def copied(cursor: Any, more: str, path: str = "/run-7/") -> list[tuple[str, str]]:
    cursor.execute(COPY.format(more=more, path=path))
    return [tuple(row[:2]) for row in cursor.fetchall()]


def content(cursor: Any) -> list[Any]:
    return cursor.execute("select id, _object, _row from ids order by id").fetchall()


def test_files_by_name_bring_their_name_and_row_number(cursor: Any) -> None:
    assert copied(cursor, "files = ('a.parquet', 'c.parquet')") == [
        ("landing/run-7/a.parquet", "LOADED"),
        ("landing/run-7/c.parquet", "LOADED"),
    ]
    assert content(cursor) == [
        (0, "run-7/a.parquet", 0),
        (1, "run-7/a.parquet", 1),
        (20, "run-7/c.parquet", 0),
        (21, "run-7/c.parquet", 1),
    ]


def test_a_file_is_loaded_once(cursor: Any) -> None:
    assert len(copied(cursor, "", path="")) == 3
    cursor.execute("create table if not exists ids (id int)")
    assert {status for _, status in copied(cursor, "", path="")} == {"LOAD_SKIPPED"}
    assert {status for _, status in copied(cursor, "force = false")} == {"LOAD_SKIPPED"}
    assert len(content(cursor)) == 6


def test_a_pattern_chooses_files_by_their_full_path(cursor: Any) -> None:
    assert [name for name, _ in copied(cursor, "pattern = '.*/b[.]parquet'")] == [
        "landing/run-7/b.parquet"
    ]
    assert copied(cursor, "pattern = 'b.parquet'") == [("Copy executed with 0 files processed.",)]


def test_a_rollback_takes_rows_and_load_history_back(cursor: Any) -> None:
    cursor.execute("begin")
    copied(cursor, "")
    cursor.execute("rollback")
    assert content(cursor) == []
    assert {status for _, status in copied(cursor, "")} == {"LOADED"}


def test_a_file_that_is_no_parquet_is_an_sql_error(cursor: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    cursor.execute(f"put 'file://{tmp_path}/broken.parquet' @landing/bad auto_compress = false")
    with pytest.raises(ProgrammingError):
        copied(cursor, "", path="/bad/")


def test_remove_takes_only_the_files_of_its_path(cursor: Any, tmp_path: Path) -> None:
    cursor.execute(f"put 'file://{tmp_path}/a.parquet' @landing/run-8 auto_compress = false")
    removed = cursor.execute("remove @landing/run-7/").fetchall()
    assert removed == [(f"landing/run-7/{name}.parquet", "removed") for name in "abc"]
    assert [row[0] for row in cursor.execute("list @landing").fetchall()] == [
        "landing/run-8/a.parquet"
    ]


def test_an_external_stage_reads_objects_of_the_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "object.parquet")
    key = "external/bronze/0-1.parquet"
    s3_server.client().upload_file(str(tmp_path / "object.parquet"), s3_server.bucket, key)
    environment = {
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }
    with LocalSnowflake(tmp_path / "server", environment) as server:
        database = server.new_database()
        connection: SnowflakeConnection
        with server.connect(database=database, schema="PUBLIC") as connection:
            cursor = connection.cursor()
            cursor.execute("create table ids (id int, _object varchar, _row int)")
            cursor.execute("create storage integration lake type = external_stage")
            cursor.execute(
                f"create stage landing url = 's3://{s3_server.bucket}/external/' "
                "storage_integration = lake"
            )
            names = "files = ('bronze/0-1.parquet')"
            loaded = copied(cursor, names, path="/")
            assert loaded == [(f"s3://{s3_server.bucket}/{key}", "LOADED")]
            assert content(cursor) == [(1, key, 0), (2, key, 1)]
            assert copied(cursor, names, path="/")[0][1] == "LOAD_SKIPPED"
