"""Answering times on gold of the size that ten million trades make: 780,000 one-minute candles.

Gold's own views are tables here, made in SQL; the three views of the report are those of dbt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import duckdb
import pytest

from app.powerbi.gold import rows_of, view_sql
from app.powerbi.layout import ReportPage, Visual
from app.powerbi.model import VIEWS
from app.powerbi.queries import answer, chosen
from app.powerbi.report import PAGES

SYMBOLS, DATES, MINUTES = 100, 20, 390
INTERVALS = {"_5m": 5, "_15m": 15, "_1h": 60, "_1d": 390}
VISUALS = [(page, visual) for page in PAGES for visual in page.visuals]

CANDLES = f"""
create table gold.gold_candlestick as
select
    's' || symbol as symbol,
    timestamp '2024-03-04 14:30' + to_days(day::int) + to_minutes(minute) as candle_time,
    100 + hash(symbol, day, minute) % 7 as candle_open,
    110.0 as candle_high,
    95.0 as candle_low,
    100.0 + hash(minute, symbol) % 9 as candle_close,
    101.0 as trend_line,
    1000.0 as volume,
    100000.0 as traded_value,
    'regular' as session,
    date '2024-03-04' + day::int as session_date,
    0 as revision,
    'final' as status
from range({SYMBOLS}) a(symbol), range({DATES}) b(day), range({MINUTES}) c(minute)
"""
ROLLUP = """
create table gold.gold_candlestick{suffix} as
select
    symbol, min(candle_time) as candle_time, arg_min(candle_open, candle_time) as candle_open,
    max(candle_high) as candle_high, min(candle_low) as candle_low,
    arg_max(candle_close, candle_time) as candle_close, max(trend_line) as trend_line,
    sum(volume) as volume, sum(traded_value) as traded_value, 'regular' as session, session_date,
    0 as revision, 'final' as status
from gold.gold_candlestick
group by symbol, session_date, (epoch(candle_time)::bigint - 52200) // ({minutes} * 60)
"""
REST = """
create table gold.gold_data_quality as
select
    symbol, session_date, count(*) as candle_count, 13 * count(*) as trade_count,
    1 as duplicate_count, 1 as rejected_count, 2 as late_count, 3 as out_of_order_count,
    4 as revision_count, 0.99 as covered_share, 5.0 as load_lag_s, 9.0 as load_lag_max_s,
    'replay' as feed
from gold.gold_candlestick group by symbol, session_date;
create table gold.gold_treechart as
select
    symbol, 'Other' as sector, 0.1 as volatility, 1.0 as relative_volatility,
    sum(traded_value) as traded_value
from gold.gold_candlestick group by symbol;
create table gold.gold_kpi as
select
    symbol, 100.0 as current_price, 1.0 as change_amount, 1.0 as change_percent,
    99.0 as reference_price, 110.0 as day_high, 95.0 as day_low, 1.0 as volume,
    100.0 as traded_value, 13 as trade_count, 2.0 as staleness_s, now() as as_of
from gold.gold_treechart;
"""


@pytest.fixture(scope="module")
def gold() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("create schema gold")
        connection.execute(CANDLES)
        for suffix, minutes in INTERVALS.items():
            connection.execute(ROLLUP.format(suffix=suffix, minutes=minutes))
        for statement in REST.split(";"):
            connection.execute(statement)
        connection.execute(_gauge())
        for view in ("gold_symbols", "gold_dates", "gold_candlestick_chart"):
            connection.execute(f"create view gold.{view} as {view_sql(view)}")
        yield connection


def _gauge() -> str:
    """The gauge with the columns that the model reads of it, whatever gold calls them."""
    _, columns = VIEWS["Gauges"]
    amounts = ", ".join(f"1.0 as {c.source}" for c in columns if c.source != "symbol")
    return f"create table gold.gold_gauge as select symbol, {amounts} from gold.gold_treechart"


def test_gold_has_the_candles_of_ten_million_trades(gold: duckdb.DuckDBPyConnection) -> None:
    (candles,) = rows_of(gold, "select count(*) as n from gold.gold_candlestick")
    (trades,) = rows_of(gold, "select sum(trade_count) as n from gold.gold_data_quality")

    assert candles["n"] == SYMBOLS * DATES * MINUTES
    assert trades["n"] > 10_000_000


@pytest.mark.parametrize(("page", "visual"), VISUALS, ids=[visual.key for _, visual in VISUALS])
def test_every_visual_is_answered_within_a_second(
    gold: duckdb.DuckDBPyConnection, page: ReportPage, visual: Visual
) -> None:
    started = time.process_time()
    shown = answer(page, visual, chosen("s7"), lambda sql: rows_of(gold, sql))

    assert time.process_time() - started < 1, "seconds of processor time, all threads"
    assert shown.rows
