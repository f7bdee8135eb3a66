"""The pipeline with WAREHOUSE=snowflake on the local stand-in: the same rows as on DuckDB.

The real connector loads the lake of `filled`, the real dbt-snowflake builds it twice, and gold is
published. An emulation: the statements are Snowflake's, but DuckDB executes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import sqlglot
from sqlglot import exp
from starlette.testclient import TestClient

from app.contracts import ROLLUP_TOPICS
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.lake import DATASETS, ObjectKey
from app.powerbi.queries import chosen, queries
from app.powerbi.report import PAGES
from app.settings import Settings
from app.warehouse import snowflake_check, snowflake_setup
from app.warehouse.audit import AuditReport, audit
from app.warehouse.commands import BuildReport, build, data_tests, opened
from app.warehouse.interface import LakeObject
from app.warehouse.loader import load_objects
from app.warehouse.objects import Lake
from app.warehouse.published import TABLES
from app.warehouse.published import folder as published_folder
from app.warehouse.raw import columns_of, table_of
from app.warehouse.retention import expire_raw, expire_trades
from app.warehouse.snowflake_connection import (
    LOGIN_TIMEOUT_S,
    NETWORK_TIMEOUT_S,
    SESSION_PARAMETERS,
)
from app.warehouse.transform import PROJECT, DbtResult, folder
from tests.integration.warehouse import audited_rows
from tests.integration.warehouse.conftest import Filled
from tests.snowflake_local.functions import unknown_functions
from tests.snowflake_local.number_types import Columns, Number, Query, number
from tests.snowflake_local.privileges import Account
from tests.snowflake_local.process import LocalSnowflake

AUDITED = ("audited_candles", "audited_rollups")
"""The temporary tables of the audit."""


class Built:
    """The lake of the warehouse `filled` in a database of the stand-in: two loads, two builds."""

    def __init__(self, server: LocalSnowflake, filled: Filled) -> None:
        self._server = server
        self._first = len(server.statements())
        database = "STOCKS_AGAIN"
        self.settings = server.as_warehouse(filled.settings, snowflake_database=database)
        snowflake_setup.init(self.settings, dry_run=False)
        self.builds: list[BuildReport] = []
        self.compiled: list[dict[str, str]] = []
        """the models of each build as dbt compiled them"""
        for report in filled.loads:
            self._load(filled, report.load_id)
            self.builds.append(build(self.settings))
            models = folder(self.settings) / "compiled" / "stocks" / "models"
            self.compiled.append({path.stem: path.read_text() for path in models.glob("*/*.sql")})
        self._cursor = server.connect(database=database).cursor()

    def _load(self, filled: Filled, load_id: int) -> None:
        """Load the objects that a load of DuckDB had, at the same time."""
        ledger = filled.warehouse(
            "select object_key, etag, size_bytes, loaded_at from raw.load_ledger "
            f"where load_id = {load_id} order by object_key"
        )
        objects = [
            LakeObject(ObjectKey.of(row["object_key"]), row["etag"], row["size_bytes"])
            for row in ledger
        ]
        with opened(self.settings, "load") as warehouse:
            lake = Lake(self.settings)
            done = load_objects(warehouse, lake, objects, ledger[0]["loaded_at"])
        assert done.objects == len(objects) > 0

    def statements(self, user: str = "TICKHOUSE") -> list[dict[str, Any]]:
        """What the pipeline has sent, oldest first."""
        return [s for s in self._server.statements(self._first) if s["user"] == user]

    def of_dbt(self) -> list[str]:
        """The statements of dbt."""
        tag = "tickhouse-dbt"
        return [s["sql"] for s in self.statements() if s["query_tag"].startswith(tag)]

    def logins_of_dbt(self) -> list[dict[str, Any]]:
        """The login requests of dbt's sessions."""
        tag = "tickhouse-dbt"
        sessions = {s["session"] for s in self.statements() if s["query_tag"].startswith(tag)}
        return [login for login in self._server.logins() if login["session"] in sessions]

    def audits(self) -> dict[str, str]:
        """The audit's queries, by the temporary table that each fills."""
        filled = {table: f"create or replace temporary table {table} as " for table in AUDITED}
        sent = self.of_dbt()
        return {
            table: next(sql.removeprefix(start) for sql in sent if sql.startswith(start))
            for table, start in filled.items()
        }

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows, as an administrator, without what the table has no column for."""
        known = {row["name"].lower() for row in self.rows(f"describe table {table}")}
        for row in rows:
            names = [name for name in row if name in known]
            marks = ", ".join(["%s"] * len(names))
            self._cursor.execute(
                f"insert into {table} ({', '.join(names)}) select {marks}",
                [row[name] for name in names],
            )

    def delete(self, table: str, symbol: str) -> None:
        self._cursor.execute(f"delete from {table} where symbol = %s", (symbol,))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, by column name."""
        self._cursor.execute(sql)
        names = [column.name for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]


@pytest.fixture(scope="module")
def built(local_snowflake: LocalSnowflake, filled: Filled) -> Built:
    return Built(local_snowflake, filled)


class Checked(NamedTuple):
    """What the data tests over all rows and the audit found on the stand-in."""

    tests: DbtResult
    audit: AuditReport


@pytest.fixture(scope="module")
def checked(built: Built) -> Checked:
    tests = data_tests(built.settings)
    planted = audited_rows.by_table()
    try:
        for table, rows in planted.items():
            built.insert(table, rows)
        report = audit(built.settings, since=audited_rows.DAY, until=audited_rows.DAY)
    finally:
        for table in planted:
            built.delete(table, audited_rows.SYMBOL)
    return Checked(tests, report)


def test_both_builds_succeed(built: Built, filled: Filled) -> None:
    assert [(each.full, each.models, each.tests) for each in built.builds] == [
        (each.full, each.models, each.tests) for each in filled.builds
    ]


def test_each_file_of_gold_is_written_anew(built: Built) -> None:
    record = json.loads((published_folder(built.settings) / "basis.json").read_text())

    assert record["updates"] == 0


def test_every_row_of_silver_and_gold_is_that_of_duckdb(built: Built, filled: Filled) -> None:
    assert_same_rows(built, filled)


def test_all_data_tests_pass_on_all_rows(checked: Checked, built: Built) -> None:
    assert checked.tests.failures == ()
    assert checked.tests.tests > max(each.tests for each in built.builds)


def test_the_audit_shows_a_row_for_a_wrong_a_missing_and_a_surplus_candle(
    checked: Checked,
) -> None:
    """The other candles and the rollups equal their trades and minutes."""
    found, symbol = checked.audit, audited_rows.SYMBOL

    assert sorted(found.differences) == [
        ("missing", symbol, "1m", "2024-06-03 13:31:00", None, None, None),
        ("surplus", symbol, "1m", "2024-06-03 13:50:00", None, None, None),
        ("wrong", symbol, "1m", "2024-06-03 13:30:00", "high", *audited_rows.HIGHS),
    ]
    assert (found.compared, found.rollups, found.differing) == (7, 2, 3)


def assert_same_rows(built: Built, filled: Filled) -> None:
    """Compare every table and view of silver and gold, row by row."""
    tables = filled.warehouse(
        "select table_schema || '.' || table_name as name from information_schema.tables "
        "where table_schema in ('silver', 'gold') order by all"
    )
    differing = {
        name: found
        for name in (table["name"] for table in tables)
        if (found := differences(built, filled, name))
    }

    assert len(tables) > 20
    assert differing == {}


@pytest.mark.usefixtures("checked")
def test_dbt_calls_only_functions_that_snowflake_documents(built: Built) -> None:
    """In builds, data tests over all rows and the audit."""
    sent = built.of_dbt()
    queries = [sql for sql in sent if "dbt_version" in sql]
    unknown = {name: sql for sql in queries for name in unknown_functions(sql)}

    assert len(queries) > 120
    assert built.audits().keys() == set(AUDITED)
    assert unknown == {}


def test_sessions_of_dbt_have_the_parameters_and_timeouts_of_a_load(built: Built) -> None:
    logins = built.logins_of_dbt()

    assert len(logins) >= len(built.builds)
    for login in logins:
        assert SESSION_PARAMETERS.items() <= login["SESSION_PARAMETERS"].items()
        assert login["CLIENT_ENVIRONMENT"]["LOGIN_TIMEOUT"] == LOGIN_TIMEOUT_S
        assert login["CLIENT_ENVIRONMENT"]["NETWORK_TIMEOUT"] == NETWORK_TIMEOUT_S


def test_a_build_does_not_ask_the_ledger(built: Built) -> None:
    assert [sql for sql in built.of_dbt() if "build_ledger" in sql.lower()] == []


@pytest.mark.usefixtures("checked")
def test_no_decimal_loses_digits(built: Built) -> None:
    """By the documented rules for the scale of results, which DuckDB does not follow: in the models
    of a full build and of the next one, and in the audit."""
    schema: dict[str, Columns] = {
        table_of(dataset): types_of(columns_of(dataset)) for dataset in DATASETS
    }
    for seed in (PROJECT / "seeds").glob("*.csv"):
        described = built.rows(f"describe table SILVER.{seed.stem}")
        types = types_of({row["name"]: row["type"] for row in described})
        schema[f"SILVER.{seed.stem}".upper()] = types
    waiting = {**built.compiled[0]}
    losses = []
    while waiting:
        name = next(name for name, sql in waiting.items() if tables_in(sql) <= {*schema})
        query = Query(waiting.pop(name), schema)
        schema[f"{name.split('_')[0]}.{name}".upper()] = query.columns()
        losses += [f"{name}: {loss}" for loss in query.losses]
    full, next_build = built.compiled
    later = {f"{name}, incremental": sql for name, sql in next_build.items() if sql != full[name]}
    for name, sql in (later | built.audits()).items():
        query = Query(sql, schema)
        query.columns()
        losses += [f"{name}: {loss}" for loss in query.losses]

    assert {name.split(",")[0] for name in later} == {n for n in full if n.startswith("silver_")}
    assert schema["SILVER.SILVER_TRADES"]["PRICE"] == Number(16, 12)
    assert losses == []


def types_of(columns: dict[str, str]) -> Columns:
    return {
        name.upper(): number(exp.DataType.build(kind, dialect="snowflake"))
        for name, kind in columns.items()
    }


def tables_in(sql: str) -> set[str]:
    """The tables that a query reads, as SCHEMA.TABLE."""
    tables = sqlglot.parse_one(sql, read="snowflake").find_all(exp.Table)
    return {f"{table.db}.{table.name}".upper() for table in tables if table.db}


def differences(built: Built, filled: Filled, table: str) -> list[Any]:
    """Pairs of rows that differ, of DuckDB and of the stand-in, in the order of all columns."""
    columns = [
        row["name"]
        for row in filled.warehouse(f"select column_name as name from (describe {table})")
        if row["name"] != "_loaded_at"
    ]
    query = f"select {', '.join(columns)} from {table} order by {', '.join(columns)}"
    expected = [tuple(row.values()) for row in filled.warehouse(query)]
    found = [tuple(row.values()) for row in built.rows(query)]
    if len(expected) != len(found):
        return [(len(expected), len(found))]
    return [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]]


@pytest.fixture(scope="module")
def pages(built: Built, filled: Filled) -> Iterator[list[TestClient]]:
    """The page on DuckDB's gold and on Snowflake's."""
    with ExitStack() as stack:
        yield [stack.enter_context(page_of(each.settings)) for each in (filled, built)]


class NoThreads:
    def start(self) -> None: ...

    def stop(self) -> None: ...


def page_of(settings: Settings) -> TestClient:
    gold = GoldReader(settings)
    gold.refresh()
    page = Page(settings, LiveCandles(settings.tickhouse_feed), gold, lambda: 1_709_700_000_000)
    app = create_app(page, [NoThreads()], LOOPBACK_NAMES)
    return TestClient(app, base_url="http://127.0.0.1")


def answers(page: TestClient) -> dict[str, Any]:
    """What the page asks for of gold, by path."""
    symbols = page.get("/api/symbols").json()["symbols"]
    paths = ["/api/symbols", "/api/summary", "/api/sparklines"]
    paths += [f"/api/gold/{table}" for table in ("kpi", "treechart", "gauge")]
    for symbol in symbols:
        paths.append(f"/api/gold/candlestick?symbol={symbol}")
        for interval in ("1m", *ROLLUP_TOPICS):
            paths.append(f"/api/candles?symbol={symbol}&interval={interval}")
    found = {path: page.get(path).raise_for_status().json() for path in paths}
    for path in found:
        found[path].pop("built_at", None)
    return found


def test_the_page_answers_the_same_json(pages: list[TestClient]) -> None:
    duckdb, snowflake = map(answers, pages)

    assert len(duckdb["/api/candles?symbol=AAPL&interval=1m"]["candles"]) > 30
    assert duckdb == snowflake


@pytest.mark.parametrize("readers", [2, 20])
def test_readers_of_the_page_send_no_statement(
    built: Built, pages: list[TestClient], readers: int
) -> None:
    before = len(built.statements())
    with ThreadPoolExecutor(readers) as pool:
        found = list(pool.map(lambda _: answers(pages[1]), range(readers)))

    assert all(answer == found[0] for answer in found)
    assert len(built.statements()) == before


def test_a_build_reads_gold_once_as_the_reporter(built: Built) -> None:
    asked = [s["sql"] for s in built.statements() if s["role"] == "TICKHOUSE_REPORTER"]

    assert len(asked) == len(built.builds) * len(TABLES)


@pytest.mark.usefixtures("checked")
def test_every_statement_is_allowed_and_every_privilege_needed(
    built: Built, local_snowflake: LocalSnowflake
) -> None:
    """The roles of setup.sql, what the pipeline, data tests and the audit sent, the report would
    ask, and all candles."""
    snowflake_check.check(built.settings)
    with opened(built.settings, "retention") as warehouse:
        later = datetime.now(UTC) + timedelta(days=built.settings.retention_trades_days)
        expire_raw(warehouse, built.settings, later)
        expire_trades(warehouse, built.settings, later)
    database = built.settings.snowflake_database
    with local_snowflake.connect(
        user="POWERBI", database=database, role="TICKHOUSE_REPORTER", warehouse="TICKHOUSE"
    ) as connection:
        for page in PAGES:
            for visual in page.visuals:
                for query in queries(page, visual, chosen("AAPL")):
                    (translated,) = sqlglot.transpile(query.sql, read="duckdb", write="snowflake")
                    connection.cursor().execute(translated)
        connection.cursor().execute("select count(*) from GOLD.gold_candles")
    account = Account()
    sent = sorted([*built.statements(), *built.statements("POWERBI")], key=lambda s: s["number"])
    not_allowed = [
        (statement["role"], statement["sql"][:200], lacking)
        for statement in sent
        if not statement["error"]
        and (
            lacking := account.missing_privileges(
                *(statement["role"], statement["warehouse"]),
                f"{database}.{statement['schema']}" if statement["schema"] else database,
                statement["sql"],
            )
        )
    ]

    assert {statement["role"] for statement in sent} == {
        "ACCOUNTADMIN",
        "TICKHOUSE_LOADER",
        "TICKHOUSE_TRANSFORMER",
        "TICKHOUSE_REPORTER",
    }
    assert not_allowed == []
    of_views = {grant for grant in account.grants if grant.name.startswith(f"{database}.GOLD.")}
    assert account.grants - of_views - account.used == set()
