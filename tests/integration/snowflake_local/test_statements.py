"""The stand-in executes, records or rejects a statement, and never does half of it.

Each test of a patch fails when the patch is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, ProgrammingError

from tests.snowflake_local.process import LocalSnowflake


@pytest.fixture
def connection(
    local_snowflake: LocalSnowflake, snowflake_database: str
) -> Iterator[SnowflakeConnection]:
    with local_snowflake.connect(database=snowflake_database, schema="PUBLIC") as opened:
        yield opened


def rows(connection: SnowflakeConnection, *statements: str) -> list[Any]:
    """Execute `statements` and return the rows of the last."""
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    return cursor.fetchall()


def test_fakesnow_is_the_version_that_is_patched() -> None:
    """For another version, read its changes and run these tests without each patch again."""
    assert version("fakesnow") == "0.12.1"


def test_a_null_timestamp_is_null(connection: SnowflakeConnection) -> None:
    moment = datetime.fromisoformat("2026-01-02 03:04:05.678")
    found = rows(
        connection,
        "create table moments (moment timestamp_ntz)",
        f"insert into moments values ('{moment}'), (null)",
        "select moment from moments order by moment nulls last",
    )
    assert found == [(moment,), (None,)]


def test_a_sum_of_numbers_is_a_number(connection: SnowflakeConnection) -> None:
    exact = Decimal("12345678901234567.0123456789")
    connection.cursor().execute("create table prices (price number(28, 10), shares bigint)")
    connection.cursor().execute(f"insert into prices values ({exact}, 3), (0.0000000001, 4)")
    cursor = connection.cursor().execute("select sum(price), sum(shares) from prices")
    assert cursor is not None
    assert cursor.fetchall() == [(exact + Decimal("0.0000000001"), 7)]
    assert [(c.type_code, c.precision, c.scale) for c in cursor.description] == [
        (0, 38, 10),
        (0, 38, 0),
    ]
    described = rows(
        connection,
        "create table sums as select sum(shares) as shares from prices",
        "describe table sums",
    )
    assert described[0][1] == "NUMBER(38,0)"


def test_merge_in_a_transaction_counts_and_rolls_back(connection: SnowflakeConnection) -> None:
    merge = (
        "merge into kept using added on kept.id = added.id "
        "when matched then update set n = added.n "
        "when not matched then insert (id, n) values (id, n)"
    )
    counted = rows(
        connection,
        "create table kept (id int, n int)",
        "create table added (id int, n int)",
        "insert into kept values (1, 1)",
        "insert into added values (1, 10), (2, 20)",
        "begin",
        merge,
    )
    assert counted == [(1, 1)]
    assert rows(connection, "rollback", "select * from kept") == [(1, 1)]
    connection.cursor().execute("insert into added values (1, 11)")
    with pytest.raises(ProgrammingError, match="Duplicate row detected"):
        connection.cursor().execute(merge)


def test_ddl_commits_the_transaction(connection: SnowflakeConnection) -> None:
    found = rows(
        connection,
        "create table kept (id int)",
        "begin",
        "insert into kept values (1)",
        "create table other (id int)",
        "rollback",
        "select * from kept",
    )
    assert found == [(1,)]


def test_a_temporary_table_lies_in_its_schema(connection: SnowflakeConnection) -> None:
    found = rows(
        connection,
        "create schema silver",
        "create or replace temporary table silver.new_rows as select 1 as id",
        "select id from silver.new_rows",
    )
    assert found == [(1,)]


@pytest.mark.parametrize("name", ["interval", '"INTERVAL"', "raw.candles.interval"])
def test_a_column_in_lower_case_is_not_the_same_in_upper_case(
    connection: SnowflakeConnection, name: str
) -> None:
    created = ("create schema raw", 'create table raw.candles ("interval" varchar)')
    assert rows(connection, *created, 'select "interval" from raw.candles') == []
    with pytest.raises(ProgrammingError, match=r"invalid identifier 'INTERVAL'"):
        rows(connection, f"select {name} from raw.candles")
    with pytest.raises(ProgrammingError, match=r"invalid identifier 'INTERVAL'"):
        rows(connection, "insert into raw.candles (interval) values ('1m')")


def test_a_table_in_lower_case_is_not_the_same_in_upper_case(
    connection: SnowflakeConnection,
) -> None:
    connection.cursor().execute('create table "candles" (id int)')
    with pytest.raises(ProgrammingError, match="does not exist"):
        connection.cursor().execute("select id from candles")


@pytest.mark.parametrize(
    ("statement", "feature"),
    [
        ("undrop table t", "UNDROP"),
        ("create pipe p as copy into t from @s", "PIPE"),
        ("create or replace task t schedule = '1 minute' as select 1", "TASK"),
        ("create stream s on table t", "STREAM"),
        ("create dynamic table d target_lag = '1 minute' as select 1 as id", "DYNAMIC TABLE"),
        ("explain select 1", "EXPLAIN"),
        ("call system$wait(1)", "CALL"),
        ("drop stage s", "STAGE"),
        ("copy into t from @s on_error = continue", "ON_ERROR = CONTINUE"),
    ],
)
def test_what_is_not_executed_is_rejected(
    connection: SnowflakeConnection, statement: str, feature: str
) -> None:
    rows(connection, "create table t (id int)", "create stage s")
    with pytest.raises(ProgrammingError, match=f"Unsupported feature '{feature}'"):
        connection.cursor().execute(statement)


@pytest.mark.parametrize(
    "statement", ["select nonsense(1)", "select 1 +", "select * from t sample system (1 rows)"]
)
def test_what_cannot_be_executed_is_an_sql_error(
    connection: SnowflakeConnection, statement: str
) -> None:
    """And not an HTTP error, which the connector would repeat until its time is over."""
    with pytest.raises(DatabaseError):
        connection.cursor().execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "grant select on all tables in schema gold to role reporter",
        "create role if not exists reporter",
        "create or replace warehouse tickhouse warehouse_size = xsmall auto_suspend = 60",
        "create resource monitor monthly with credit_quota = 10",
        "create network policy office allowed_ip_list = ('192.0.2.0/24')",
        "alter session set query_tag = 'build 7'",
    ],
)
def test_statements_about_the_account_are_recorded(
    local_snowflake: LocalSnowflake, connection: SnowflakeConnection, statement: str
) -> None:
    connection.cursor().execute(f"-- set up\n{statement};")
    recorded = local_snowflake.statements()[-1]
    assert statement in recorded["sql"]
    assert (recorded["executed"], recorded["error"]) == (False, None)


def test_a_statement_is_recorded_with_its_session_and_role(
    local_snowflake: LocalSnowflake, connection: SnowflakeConnection
) -> None:
    before = len(local_snowflake.statements())
    found = rows(
        connection,
        "alter session set query_tag = 'load 7'",
        "use role loader",
        "use warehouse small",
        "select current_role(), current_user(), current_warehouse()",
    )
    assert found == [("LOADER", "TESTER", "SMALL")]
    recorded = local_snowflake.statements(before)
    assert [statement["role"] for statement in recorded] == ["SYSADMIN"] * 2 + ["LOADER"] * 2
    assert {statement["session"] for statement in recorded} == {recorded[0]["session"]}
    assert recorded[-1]["query_tag"] == "load 7"
    assert local_snowflake.logins()[-1]["LOGIN_NAME"] == "TESTER"


def test_data_stages_and_load_history_outlive_a_kill(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3]}), tmp_path / "a.parquet")
    copy = (
        "copy into ids from @landing files = ('run/a.parquet') "
        "file_format = (type = parquet) match_by_column_name = case_insensitive"
    )
    with LocalSnowflake(tmp_path / "server") as server:
        database = server.new_database()
        with server.connect(database=database, schema="PUBLIC") as connection:
            loaded = rows(
                connection,
                "create table ids (id int)",
                "create stage landing",
                f"put 'file://{tmp_path}/a.parquet' '@landing/run' auto_compress = false",
                copy,
            )
            assert loaded[0][:4] == ("landing/run/a.parquet", "LOADED", 3, 3)
        server.kill()
        server.start()
        with server.connect(database=database, schema="PUBLIC") as connection:
            assert rows(connection, "select count(*) from ids") == [(3,)]
            assert rows(connection, copy)[0][1] == "LOAD_SKIPPED"
