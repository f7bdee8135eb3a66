"""The loader with the real connector on the local stand-in for Snowflake (an emulation)."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest
from snowflake.connector import errors

from app.lake import DATASETS, ObjectKey
from app.warehouse import published, snowflake_check, snowflake_connection, snowflake_setup
from app.warehouse.commands import build, extract, load
from app.warehouse.compaction import loaded_hours
from app.warehouse.interface import Build, WarehouseError
from app.warehouse.listing import listing_path
from app.warehouse.progress import (
    BuildProgress,
    LoadProgress,
    read_progress,
    record_build,
    record_load,
)
from app.warehouse.rebuild import REBUILDING
from app.warehouse.retention import RawExpired, expire_raw, expire_trades, require_complete_raw
from app.warehouse.snowflake import SnowflakeWarehouse
from app.warehouse.snowflake_connection import SnowflakeUnavailable
from app.warehouse.snowflake_gold import write_rows
from tests.integration.warehouse.conftest import Filled, first_load, rows_of, second_load
from tests.integration.warehouse.lake_writer import (
    START,
    STOCKS_INCARNATION,
    LakeWriter,
    candle,
    quote,
    trade,
    watermark,
)
from tests.integration.warehouse.on_snowflake import OnSnowflake, lose_answers_of_commit
from tests.snowflake_local.process import LocalSnowflake


def fill(lake: LakeWriter) -> None:
    lake.put("trades", [trade("AAPL", 1, "10"), trade("AAPL", 2, "11.5")], partition=1)
    lake.put("trades", [trade("MSFT", 1, "20")], partition=2)
    lake.put("quotes", [quote("AAPL", 5, "10", "8")])
    lake.put("candles", [candle("AAPL", 1, "10 12 9 11")])


def test_every_object_is_loaded_once_with_a_row_of_the_ledger(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    first = load(on_snowflake.settings)
    again = load(on_snowflake.settings)

    assert (first.objects, first.rows) == (4, {"trades": 3, "quotes": 1, "candles": 1})
    assert again.objects == 0
    assert on_snowflake.rows("select count(*), min(_load_id), max(_load_id) from TRADES") == [
        (3, 1, 1)
    ]
    assert on_snowflake.rows(
        "select count(*) from TRADES join LOAD_LEDGER on _object = object_key "
        "where _loaded_at = loaded_at and _staged_file like '%/trades/%.parquet'"
    ) == [(3,)]
    assert on_snowflake.rows("select status, row_count from LOAD_LEDGER order by 2") == [
        ("loaded", 1),
        ("loaded", 1),
        ("loaded", 1),
        ("loaded", 2),
    ]


def test_values_arrive_exactly(on_snowflake: OnSnowflake) -> None:
    rows = [trade("AAPL", 1.001, "10.000000001", size="0.5")]
    on_snowflake.lake.put("trades", rows)
    load(on_snowflake.settings)

    on_snowflake.lake.put("trades", [trade("AAPL", 2, "11")])
    live = on_snowflake.settings.model_copy(update={"tickhouse_feed": "live"})
    with pytest.raises(WarehouseError, match=r"STOCKS_\d+ has data of the feed replay"):
        load(live)

    (found,) = on_snowflake.rows("select price, size, notional, trade_time from TRADES")
    assert found[:3] == (rows[0]["price"], rows[0]["size"], rows[0]["notional"])
    assert found[3] == rows[0]["trade_time"].replace(tzinfo=None)


def test_steps_of_a_load(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    load(on_snowflake.settings)
    kinds = [s["sql"].split()[0].lower() for s in on_snowflake.sent()]
    steps = [kind for kind, _ in itertools.groupby(kinds) if kind != "select"]

    # In the stand-in the connector asks again for the address of each file that it puts.
    assert steps == ["put", "begin", "copy", "insert", "commit", "remove"]
    assert kinds.count("copy") == 3
    assert {(s["role"], s["query_tag"].split(":")[0]) for s in on_snowflake.sent()} == {
        ("TICKHOUSE_LOADER", "tickhouse")
    }


def test_an_object_without_rows_is_not_put(on_snowflake: OnSnowflake) -> None:
    key = ObjectKey("trades", STOCKS_INCARNATION, 1, 0, 0)
    on_snowflake.lake.put_table(key, DATASETS["trades"].empty_table())

    assert load(on_snowflake.settings).rows == {"trades": 0}
    assert on_snowflake.rows("select status, row_count from LOAD_LEDGER") == [("loaded", 0)]
    assert not any(s["sql"].startswith(("put", "copy")) for s in on_snowflake.sent())


def test_a_run_removes_only_its_own_files(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    stage = f"@{on_snowflake.settings.snowflake_database}.RAW.LANDING"
    with on_snowflake.server.connect() as connection:
        connection.cursor().execute(f"put 'file://{__file__}' '{stage}/other'")
    load(on_snowflake.settings)

    assert [row[0].split("/")[1] for row in on_snowflake.rows(f"list {stage}")] == ["other"]


def test_a_failure_leaves_neither_rows_nor_ledger(
    on_snowflake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(on_snowflake.lake)

    def refuse(*_: Any) -> None:
        raise errors.ProgrammingError(msg="no such column", errno=904)

    with monkeypatch.context() as patched:
        patched.setattr(SnowflakeWarehouse, "_write_ledger", refuse)
        with pytest.raises(WarehouseError, match=r"Load 1 failed .*no such column"):
            load(on_snowflake.settings)
    assert on_snowflake.rows("select count(*) from TRADES") == [(0,)]
    assert on_snowflake.rows("select count(*) from LOAD_LEDGER") == [(0,)]

    assert load(on_snowflake.settings).objects == 4


def test_a_lost_answer_of_commit_does_not_load_twice(
    on_snowflake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(on_snowflake.lake)
    lose_answers_of_commit(monkeypatch)
    assert load(on_snowflake.settings).load_id == 1
    assert on_snowflake.rows("select count(*) from TRADES") == [(3,)]


def test_a_rejected_object_is_named_and_replaced_once_repaired(on_snowflake: OnSnowflake) -> None:
    key = on_snowflake.lake.put("trades", [trade("AAPL", 1, "10")])
    on_snowflake.lake.put_bytes(key, b"nothing")

    assert list(load(on_snowflake.settings).rejected) == [str(key)]
    assert on_snowflake.rows("select object_key from REJECTED_OBJECTS") == [(str(key),)]
    on_snowflake.lake.put("trades", [trade("AAPL", 1, "10")], first_offset=key.first_offset)
    assert load(on_snowflake.settings).rows == {"trades": 1}
    assert on_snowflake.rows("select status, load_id from LOAD_LEDGER") == [("loaded", 2)]


def test_listing_sends_no_statement_once_a_load_was_made(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    load(on_snowflake.settings)
    before = len(on_snowflake.sent())

    assert extract(on_snowflake.settings) == []
    assert len(on_snowflake.sent()) == before


def test_a_load_of_nothing_sends_no_statement_once_all_is_built(on_snowflake: OnSnowflake) -> None:
    settings = on_snowflake.settings
    fill(on_snowflake.lake)
    loaded = load(settings)

    def statements_of_a_load(listed: list[tuple[str, str, int]] | None) -> int:
        before = len(on_snowflake.sent())
        report = load(settings, listed)
        assert (report.objects, report.load_id) == (0, loaded.load_id)
        return len(on_snowflake.sent()) - before

    assert statements_of_a_load([]) > 0  # a build is pending: whether it is due is in the ledger
    record_build(settings, BuildProgress(loaded.load_id, 1))
    record_load(settings, LoadProgress(loaded.load_id, 1))
    assert statements_of_a_load([]) == 0
    assert read_progress(settings).load.ended_ms > 1  # type: ignore[union-attr]
    assert statements_of_a_load(None) > 0  # by hand, the ledger is looked at
    listing_path(settings).unlink()
    assert statements_of_a_load([]) > 0


def test_retention_and_compaction_ask_as_the_role_that_may(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    load(on_snowflake.settings)
    on_snowflake.rows("create table SILVER.SILVER_TRADES (session_date date)")
    on_snowflake.rows("insert into SILVER.SILVER_TRADES values ('2024-01-02'), ('2024-03-05')")
    days = {"retention_raw_days": 7, "retention_trades_days": 30}
    settings = on_snowflake.settings.model_copy(update=days)
    now = START + timedelta(days=10)
    warehouse = SnowflakeWarehouse(settings)
    warehouse.record_build(Build(1, now, now, "built", "", ""))

    hours = loaded_hours(warehouse, now)
    expire_trades(warehouse, settings, now)
    assert expire_raw(warehouse, settings, datetime.now(UTC) + timedelta(days=8)) == 1
    with pytest.raises(RawExpired, match=r"SNOWFLAKE_DATABASE and run `tickhouse warehouse init`"):
        require_complete_raw(warehouse, settings)
    warehouse.close()

    assert {hour.dataset for hour in hours} == {"trades", "quotes", "candles"}
    assert on_snowflake.rows("select count(*) from TRADES") == [(0,)]
    assert on_snowflake.rows("select session_date from SILVER.SILVER_TRADES") == [
        (date(2024, 3, 5),)
    ]
    roles = {s["sql"].split(" where")[0]: s["role"] for s in on_snowflake.sent()}
    assert roles["delete from SILVER.SILVER_TRADES"] == "TICKHOUSE_TRANSFORMER"
    assert roles["delete from RAW.TRADES"] == "TICKHOUSE_LOADER"


def test_an_account_that_does_not_answer_is_not_a_rejected_login(
    on_snowflake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snowflake_connection, "LOGIN_TIMEOUT_S", 1)
    away = on_snowflake.settings.model_copy(update={"snowflake_port": 1})

    with pytest.raises(SnowflakeUnavailable, match=r"The login failed .* Try again"):
        load(away)


ROWS_OF_EVERY_TYPE = """
select 9007199254740993::bigint as big, 7::integer as small, 0.1::double as price,
    'Kürzel €' as symbol, true as is_new, '2024-03-05'::date as day,
    '2024-03-05 14:30:00.001'::timestamp as moment
union all
select null, null, null, null, null, null, null
"""


def test_rows_of_gold_keep_their_values_and_nulls(
    local_snowflake: LocalSnowflake, snowflake_database: str
) -> None:
    opened = local_snowflake.connect(database=snowflake_database, schema="PUBLIC")
    with opened as connection, duckdb.connect() as file:
        write_rows(file, "found", connection.cursor().execute(ROWS_OF_EVERY_TYPE))
        write_rows(file, "empty", connection.cursor().execute("select 1 as a where false"))
        types = file.sql("select column_type from (describe found)").fetchall()
        rows = file.sql("from found order by big nulls last").fetchall()
        empty = file.sql("from empty").fetchall()

    assert [kind for (kind,) in types] == [
        *("BIGINT", "BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP")
    ]
    moment = START.replace(tzinfo=None, microsecond=1_000)
    first = (9007199254740993, 7, 0.1, "Kürzel €", True, date(2024, 3, 5), moment)
    assert rows == [first, (None,) * 7]
    assert empty == []


def test_a_rebuild_finds_its_dates_and_its_progress(on_snowflake: OnSnowflake) -> None:
    fill(on_snowflake.lake)
    on_snowflake.lake.put("trades", [trade("AAPL", 3, "10", session_date="2024-02-30")])
    on_snowflake.lake.put("coverage", [watermark("AAPL", -86_400)])
    load(on_snowflake.settings)
    now = START + timedelta(days=10)
    built = Build(1, now, now, "built", "p", "")
    begun = Build(1, now, now + timedelta(minutes=1), REBUILDING, "p", "2024-03-04")
    warehouse = SnowflakeWarehouse(on_snowflake.settings)

    assert warehouse.session_dates() == [("2024-03-04", 1), ("2024-03-05", 5)]
    assert warehouse.builds_after_last() == []
    warehouse.record_build(built)
    warehouse.record_build(begun)
    assert warehouse.builds_after_last() == [begun]
    assert expire_raw(warehouse, on_snowflake.settings, now + timedelta(days=9_000)) == 0
    warehouse.close()


def test_check_reports_what_is_missing(on_snowflake: OnSnowflake, capsys: Any) -> None:
    snowflake_check.check(on_snowflake.settings)
    assert "can load, build and read" in capsys.readouterr().out

    on_snowflake.rows("drop table QUOTES")
    with pytest.raises(WarehouseError, match=r"The table STOCKS_\d+\.RAW\.QUOTES is missing"):
        snowflake_check.check(on_snowflake.settings)
    snowflake_setup.init(on_snowflake.settings, dry_run=False)
    snowflake_check.check(on_snowflake.settings)


@pytest.mark.parametrize(
    ("statement", "sentence", "is_repaired"),
    [
        (
            "revoke insert, delete on all tables in schema {}.RAW from role TICKHOUSE_LOADER",
            "TICKHOUSE_LOADER lacks DELETE and INSERT on the table {}.RAW.TRADES.",
            True,
        ),
        (
            "revoke write on stage {}.RAW.LANDING from role TICKHOUSE_LOADER",
            "TICKHOUSE_LOADER lacks WRITE on the stage {}.RAW.LANDING.",
            True,
        ),
        (
            "grant ownership on schema {}.GOLD to role SYSADMIN",
            "TICKHOUSE_TRANSFORMER lacks OWNERSHIP on the schema {}.GOLD.",
            True,
        ),
        (
            "create view {}.GOLD.GOLD_KPI as select 1 as one",
            "TICKHOUSE_REPORTER lacks SELECT on the view {}.GOLD.GOLD_KPI.",
            False,
        ),
        (
            "alter table {}.RAW.TRADES drop column _staged_row",
            "The table {}.RAW.TRADES lacks the columns _staged_row, which this version loads.",
            False,
        ),
    ],
)
def test_check_reports_missing_privileges_and_columns(
    on_snowflake: OnSnowflake, statement: str, sentence: str, is_repaired: bool
) -> None:
    database = on_snowflake.settings.warehouse_database
    on_snowflake.rows(statement.format(database))
    with pytest.raises(WarehouseError) as raised:
        snowflake_check.check(on_snowflake.settings)
    assert sentence.format(database) in str(raised.value).splitlines()

    if is_repaired:
        snowflake_setup.init(on_snowflake.settings, dry_run=False)
        snowflake_check.check(on_snowflake.settings)


def test_check_counts_privileges_of_roles_that_are_granted_to_the_role(
    on_snowflake: OnSnowflake,
) -> None:
    database = on_snowflake.settings.warehouse_database
    on_snowflake.rows(f"create role {database}_WRITER")
    on_snowflake.rows(f"grant write on stage {database}.RAW.LANDING to role {database}_WRITER")
    on_snowflake.rows(f"grant role {database}_WRITER to role TICKHOUSE_LOADER")
    on_snowflake.rows(f"revoke write on stage {database}.RAW.LANDING from role TICKHOUSE_LOADER")

    snowflake_check.check(on_snowflake.settings)


@pytest.mark.drill
def test_load_and_build_publish_the_gold_of_duckdb(
    on_snowflake: OnSnowflake, filled: Filled
) -> None:
    for write, full in ((first_load, True), (second_load, False)):
        write(on_snowflake.lake)
        loaded, built = load(on_snowflake.settings), build(on_snowflake.settings)
        assert loaded.objects > 0
        assert (built.built, built.full, built.tests > 0) == (True, full, True)
    path = published.current_path(on_snowflake.settings)

    assert path is not None
    for table, columns in published.TABLES.items():
        # Lags are measured from the real times of the loads.
        compared = [column for column in columns if not column.startswith("load_lag")]
        query = f"select {', '.join(compared)} from gold.{table} order by all"
        assert rows_of(str(path), query) == filled.gold(query), table
    assert {s["role"] for s in on_snowflake.sent()} == {
        "TICKHOUSE_LOADER",
        "TICKHOUSE_TRANSFORMER",
        "TICKHOUSE_REPORTER",
    }
