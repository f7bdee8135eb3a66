"""What DirectQuery would ask, on gold as dbt builds it: in DuckDB, and in Snowflake's dialect.

test_snowflake.py runs the translated queries on an emulation of Snowflake; they never ran on an
account.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot

from app.powerbi.expressions import ColumnRef
from app.powerbi.gold import published_gold, rows_of, view_sql
from app.powerbi.layout import Choice, ReportPage, Visual
from app.powerbi.model import ALL_SYMBOLS, MODEL
from app.powerbi.queries import VisualData, answer, chosen, queries
from app.powerbi.report import LIVE_CANDLES, PAGES
from app.settings import Settings
from app.warehouse.published import TABLES
from tests.integration.powerbi.market import BTC, FULL_DAY, MINUTES_OF_LAST_DAY, PRICES

VISUALS = [(page, visual) for page in PAGES for visual in page.visuals]
each_visual = pytest.mark.parametrize(
    ("page", "visual"), VISUALS, ids=[visual.key for _, visual in VISUALS]
)
OWN_VIEWS = [table.view for table in MODEL.tables if table.view not in TABLES]

TYPES = {
    "VARCHAR": "string",
    "DOUBLE": "double",
    "BIGINT": "int64",
    "INTEGER": "int64",
    "HUGEINT": "int64",
    "DATE": "dateTime",
    "TIMESTAMP": "dateTime",
}
"""Types of the model by DuckDB's."""


@pytest.fixture(scope="module")
def gold(gold_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with published_gold(gold_file) as connection:
        yield connection


@pytest.fixture(scope="module")
def warehouse(market: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(market.warehouse_path), read_only=True) as connection:
        yield connection


def asked(gold: Any, key: str, symbol: str = "NVDA", interval: str | None = None) -> VisualData:
    ((page, visual),) = [each for each in VISUALS if each[1].key == key]
    return answer(page, visual, chosen(symbol, interval), lambda sql: rows_of(gold, sql))


@each_visual
def test_every_query_runs_on_the_gold_of_dbt(
    warehouse: duckdb.DuckDBPyConnection, page: ReportPage, visual: Visual
) -> None:
    shown = answer(page, visual, chosen("NVDA"), lambda sql: rows_of(warehouse, sql))

    assert shown.rows
    for row in shown.rows:
        for field in visual.fields():
            assert field.name in row


@each_visual
def test_every_query_translates_to_the_dialect_of_snowflake(
    page: ReportPage, visual: Visual
) -> None:
    for query in queries(page, visual, chosen("NVDA")):
        (translated,) = sqlglot.transpile(query.sql, read="duckdb", write="snowflake")
        assert sqlglot.parse_one(translated, read="snowflake").named_selects
        assert "distinct" not in translated.lower().replace("select distinct", "")


@pytest.mark.parametrize("view", OWN_VIEWS)
def test_views_of_the_report_are_the_same_over_the_published_file(
    gold: duckdb.DuckDBPyConnection, warehouse: duckdb.DuckDBPyConnection, view: str
) -> None:
    rows = [rows_of(each, f"from gold.{view} order by all") for each in (gold, warehouse)]

    assert rows[0] == rows[1]
    assert rows[0]
    assert "{" not in view_sql(view)


@pytest.mark.parametrize("table", MODEL.tables, ids=lambda table: table.name)
def test_types_of_the_model_are_those_of_gold(
    warehouse: duckdb.DuckDBPyConnection, table: Any
) -> None:
    described = rows_of(warehouse, f"describe gold.{table.view}")
    types = {row["column_name"]: TYPES.get(row["column_type"]) for row in described}

    for column in table.columns:
        assert column.type == types[column.source], column.source


@pytest.mark.parametrize("relationship", MODEL.relationships, ids=lambda each: each.many_side.dax)
def test_relationships_lead_to_one_row(
    warehouse: duckdb.DuckDBPyConnection, relationship: Any
) -> None:
    many, target = relationship.many_side, relationship.one_side
    many_column, one_column = MODEL.column(many).source, MODEL.column(target).source
    one_view = MODEL.table(target.table).view
    (twice,) = rows_of(
        warehouse,
        f"select count(*) - count(distinct {one_column}) as n from gold.{one_view}",
    )
    alone = rows_of(
        warehouse,
        f"select distinct {many_column} as key from gold.{MODEL.table(many.table).view} "
        f"where {many_column} not in (select {one_column} from gold.{one_view})",
    )

    assert twice["n"] == 0
    assert [row["key"] for row in alone] == ([] if relationship.complete else [ALL_SYMBOLS])


def test_cards_show_the_chosen_symbol(gold: duckdb.DuckDBPyConnection) -> None:
    (row,) = asked(gold, "live-cards", "MSFT").rows
    (kpi,) = rows_of(gold, "from gold.gold_kpi where symbol = 'MSFT'")

    assert row["Last Price"] == kpi["current_price"]
    assert row["Change"] == kpi["change_amount"]
    assert row["Change %"] == pytest.approx(kpi["change_percent"] / 100)
    assert row["VWAP"] == pytest.approx(kpi["vwap"])
    assert row["Data Feed"] == "replay"


def test_candles_are_those_of_the_interval_and_of_the_last_dates(
    gold: duckdb.DuckDBPyConnection,
) -> None:
    live = asked(gold, "live-candlestick").rows
    minutes = asked(gold, "candlestick-deneb").rows
    hours = asked(gold, "candlestick-deneb", interval="1h").rows

    assert len(live) == LIVE_CANDLES
    assert len(minutes) == FULL_DAY + MINUTES_OF_LAST_DAY
    assert len(hours) == 7 + 7 + 5  # the first one has half an hour
    assert live == sorted(live, key=lambda row: row["Candle Time"])
    for row in live:
        rises = row["Close"] >= row["Open"]
        assert row["Rising Close" if rises else "Falling Close"] == row["Close"]
        assert row["Falling Close" if rises else "Rising Close"] is None
        assert row["Low"] <= min(row["Open"], row["Close"]) <= row["High"]


def test_candles_of_several_symbols_are_blank(gold: duckdb.DuckDBPyConnection) -> None:
    ((page, visual),) = [each for each in VISUALS if each[1].key == "live-candlestick"]

    assert answer(page, visual, {}, lambda sql: rows_of(gold, sql)).rows == []


def test_gauges_show_one_symbol_or_the_row_of_all_of_a_class(
    gold: duckdb.DuckDBPyConnection,
) -> None:
    (item,) = asked(gold, "live-volume").rows
    rows = {
        (row["symbol"], row["symbol_class"]): row for row in rows_of(gold, "from gold.gold_gauge")
    }
    of_item = rows["NVDA", "us_stock"]

    assert item["Volume"] == of_item["volume"]
    assert item["Volume Scale"] == of_item["gauge_max"] == 2 * item["Typical Volume"]
    (shares,) = gauge_without_symbol(gold, "live-volume", "us_stock")
    assert shares["Volume"] == rows[ALL_SYMBOLS, "us_stock"]["volume"] > 0
    for of in ("us_stock", "crypto"):
        (every,) = gauge_without_symbol(gold, "live-sales", of)
        assert every["Sales"] == rows[ALL_SYMBOLS, of]["sales"]


def test_the_gauge_of_volume_of_all_coins_is_blank(gold: duckdb.DuckDBPyConnection) -> None:
    assert gauge_without_symbol(gold, "live-volume", "crypto") == []


def test_gauges_of_several_classes_are_blank(gold: duckdb.DuckDBPyConnection) -> None:
    assert gauge_without_symbol(gold, "live-volume") == []


def gauge_without_symbol(gold: duckdb.DuckDBPyConnection, key: str, *classes: str) -> list[Any]:
    ((page, visual),) = [each for each in VISUALS if each[1].key == key]
    choices = tuple(Choice(ColumnRef("Gauges", "Class"), each) for each in classes)
    page = replace(page, filters=choices)
    return answer(page, visual, {}, lambda sql: rows_of(gold, sql)).rows


def test_tree_map_has_every_symbol_whichever_is_chosen(gold: duckdb.DuckDBPyConnection) -> None:
    rows = asked(gold, "live-treemap").rows

    assert {row["Symbol"] for row in rows} == {*PRICES}
    assert rows[0]["Traded Value"] == max(row["Traded Value"] for row in rows)


def test_kpi_compares_each_close_with_one_reference_price(
    gold: duckdb.DuckDBPyConnection,
) -> None:
    rows = asked(gold, "live-kpi", BTC).rows

    assert len({row["Reference Price"] for row in rows}) == 1
    assert len({row["Close"] for row in rows}) > 50


def test_quality_adds_up_over_symbols(gold: duckdb.DuckDBPyConnection) -> None:
    dates = asked(gold, "quality-dates").rows
    table = asked(gold, "quality-table").rows
    sums = "select sum(revision_count) as n, sum(rejected_count) as r from gold.gold_data_quality"
    (total,) = rows_of(gold, sums)

    assert sum(row["Revisions"] for row in table) == total["n"]
    assert sum(row["Rejected Trades"] for row in table) == total["r"] == 6
    assert len({row["Session Date"] for row in dates}) == len(dates)
