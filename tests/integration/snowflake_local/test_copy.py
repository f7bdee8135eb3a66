"""PUT, COPY INTO, LIST and REMOVE with the real connector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
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


def test_a_file_of_a_wildcard_is_stored_at_its_own_address_only(
    local_snowflake: LocalSnowflake, snowflake_database: str
) -> None:
    """The order of uploads of connector 5, of which the third has the address of another file."""
    folder = f"fs_bucket/{snowflake_database}/PUBLIC/LANDING/run-7"
    login = local_snowflake.login
    with httpx2.Client(
        base_url=f"{login['protocol']}://{login['host']}:{login['port']}", trust_env=False
    ) as client:
        answers = [
            client.put(f"/{folder}/{name}.parquet", content=content).status_code
            for name, content in [("*", b"a"), ("a", b"a"), ("a", b"b"), ("b", b"b")]
        ]

    assert answers == [400, 200, 400, 200]


def test_remove_takes_only_the_files_of_its_path(cursor: Any, tmp_path: Path) -> None:
    cursor.execute(f"put 'file://{tmp_path}/a.parquet' @landing/run-8 auto_compress = false")
    removed = cursor.execute("remove @landing/run-7/").fetchall()
    assert removed == [(f"landing/run-7/{name}.parquet", "removed") for name in "abc"]
    assert [row[0] for row in cursor.execute("list @landing").fetchall()] == [
        "landing/run-8/a.parquet"
    ]


@pytest.fixture
def on_lake(
    local_snowflake: LocalSnowflake, snowflake_database: str, s3_server: S3Server, tmp_path: Path
) -> Iterator[Any]:
    """A cursor in a database with table IDS and the external stage LAKE, which has two objects."""
    prefix = f"external/{snowflake_database}"
    for name, column in (("0-1", "id"), ("2-3", "other")):
        pq.write_table(pa.table({column: [1, 2]}), tmp_path / name)
        key = f"{prefix}/bronze/{name}.parquet"
        s3_server.client().upload_file(str(tmp_path / name), s3_server.bucket, key)
    with local_snowflake.connect(database=snowflake_database, schema="PUBLIC") as connection:
        opened = connection.cursor()
        opened.execute("create table ids (id int, _object varchar, _row int)")
        opened.execute("create storage integration lake type = external_stage")
        opened.execute(
            f"create stage landing url = 's3://{s3_server.bucket}/{prefix}/' "
            "storage_integration = lake"
        )
        yield opened


def of_bucket(s3_server: S3Server, database: str, name: str) -> str:
    return f"s3://{s3_server.bucket}/external/{database}/bronze/{name}.parquet"


def test_an_external_stage_reads_objects_of_the_bucket(
    on_lake: Any, snowflake_database: str, s3_server: S3Server
) -> None:
    names = "files = ('bronze/0-1.parquet')"
    url = of_bucket(s3_server, snowflake_database, "0-1")
    key = url.removeprefix(f"s3://{s3_server.bucket}/")

    assert copied(on_lake, names, path="/") == [(url, "LOADED")]
    assert content(on_lake) == [(1, key, 0), (2, key, 1)]
    assert copied(on_lake, names, path="/")[0][1] == "LOAD_SKIPPED"


TRANSFORMING = (
    "copy into ids (id, _object, _row) from (select $1:id::int, METADATA$FILENAME, 7::int "
    "from @landing/bronze/) files = ({files}) file_format = (type = parquet) force = true"
)


def test_a_copy_selects_columns_metadata_and_constants(
    on_lake: Any, snowflake_database: str, s3_server: S3Server
) -> None:
    """A column that a file lacks is null."""
    names = ("0-1", "2-3")
    files = ", ".join(f"'{name}.parquet'" for name in names)
    for _ in range(2):
        on_lake.execute(TRANSFORMING.format(files=files))
        assert [(row[1], row[3]) for row in on_lake.fetchall()] == [("LOADED", 2)] * 2

    found = [
        of_bucket(s3_server, snowflake_database, name).removeprefix(f"s3://{s3_server.bucket}/")
        for name in names
    ]
    assert sorted(content(on_lake), key=str) == sorted(
        2 * [(1, found[0], 7), (2, found[0], 7), (None, found[1], 7), (None, found[1], 7)], key=str
    )


def test_a_copy_with_qualified_names_needs_no_schema_of_the_session(
    on_lake: Any, local_snowflake: LocalSnowflake, snowflake_database: str
) -> None:
    qualified = TRANSFORMING.replace("ids", f"{snowflake_database}.PUBLIC.ids").replace(
        "@landing", f"@{snowflake_database}.PUBLIC.landing"
    )
    with local_snowflake.connect(database=snowflake_database) as connection:
        connection.cursor().execute(qualified.format(files="'0-1.parquet'"))
    assert len(content(on_lake)) == 2


def test_a_file_that_the_stage_does_not_have_is_an_error(on_lake: Any) -> None:
    with pytest.raises(ProgrammingError, match=r"Remote file .* was not found") as raised:
        on_lake.execute(TRANSFORMING.format(files="'0-1.parquet', '4-5.parquet'"))
    assert raised.value.errno == 91016
    assert content(on_lake) == []


def test_an_external_stage_is_listed(
    on_lake: Any, snowflake_database: str, s3_server: S3Server
) -> None:
    rows = on_lake.execute("list @landing/bronze/2").fetchall()

    assert [row[0] for row in rows] == [of_bucket(s3_server, snowflake_database, "2-3")]
    assert on_lake.execute("list @landing/silver/").fetchall() == []
