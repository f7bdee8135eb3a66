"""Unusual symbols: the parser rejects them, and in SQL they are only values.

Rows may have entered the lake without the parser; silver takes them unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from app.contracts import CANDLES_TOPIC, REJECTED_TOPIC, STOCKS_TOPIC, Trade, Trades, Watermark
from app.market.symbols import is_symbol, symbol_class
from app.settings import Settings
from app.topics import ensure_topics
from app.warehouse import published
from app.warehouse.audit import audit
from app.warehouse.commands import load
from tests.integration.warehouse.conftest import Filled, rising
from tests.integration.warehouse.lake_writer import (
    START,
    LakeWriter,
    candle,
    quote,
    rejection,
    trade,
    watermark,
)
from tests.support import await_, await_consumed, read_topic, running, send_messages, values

PLAIN = ("AAPL", "MSFT", "ALL")  # Allstate is one
APOSTROPHES = ("'; drop table x; --", "'", "O'NEIL", "Z'")
OTHERS = ('A"B', "A\\B", "A\\", "%", "%s", "{{ 1 }}", "{% raw %}", "$1", "?", "*", "NULL", "null")
UNPRINTABLE = ("", " ", "\x00", "A\x00B", "A\nB", "\U0010ffff")
STAGES = (PLAIN, APOSTROPHES, (*OTHERS, *UNPRINTABLE))
"""By the build they are new in; the lowest and highest of each are below and above all before."""
SYMBOLS = tuple(symbol for symbols in STAGES for symbol in symbols)
BY_TIME = {"gold_treechart": ", sector", "gold_data_quality": ", load_lag_s, load_lag_max_s"}
"""Columns in which symbols may differ though their rows are the same."""


def first_minutes(lake: LakeWriter, symbols: Iterable[str]) -> None:
    """The same rows of every dataset for each of `symbols`."""
    for symbol in symbols:
        lake.put("candles", rising(symbol, range(12)))
    lake.put("trades", [trade(symbol, 1, "10") for symbol in symbols for _ in range(2)])
    lake.put("quotes", [quote(symbol, 5, "10", "8") for symbol in symbols])
    lake.put("coverage", [watermark(symbol, 600) for symbol in symbols])
    lake.put("rejected", [rejection(9, 9, None, detail=symbol) for symbol in symbols])


def next_minute(lake: LakeWriter, symbols: Iterable[str]) -> None:
    """A minute more, a revision of an earlier one, a trade, a quote and a watermark."""
    revised = {"revision": 1, "status": "revised"}
    lake.put("candles", [candle(symbol, 12, "22 24 21 23") for symbol in symbols])
    lake.put("candles", [candle(symbol, 3, "13 99 12 14", **revised) for symbol in symbols])
    lake.put("trades", [trade(symbol, 2, "11") for symbol in symbols])
    lake.put("quotes", [quote(symbol, 6, "10", "8") for symbol in symbols])
    lake.put("coverage", [watermark(symbol, 720) for symbol in symbols])


@pytest.fixture(scope="module")
def odd(lake_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A warehouse to which each build brought new symbols, and news of those before.

    The folder it lies in has a name like theirs.
    """
    folder = tmp_path_factory.mktemp('it\'s "100%" {{ 1 }}')
    odd = Filled(lake_settings(tickhouse_data_dir=folder))
    before: tuple[str, ...] = ()
    for symbols in STAGES:
        first_minutes(odd.lake, symbols)
        if before:
            next_minute(odd.lake, before)
        odd.load_and_build()
        before = symbols
    next_minute(odd.lake, before)
    odd.load_and_build()
    return odd


def test_the_builds_succeed(odd: Filled) -> None:
    assert [report.full for report in odd.builds] == [True, False, False, False]
    assert all(report.built for report in odd.builds)


def test_every_symbol_is_in_gold_as_it_stands_in_the_lake(odd: Filled) -> None:
    rows = odd.gold("select distinct symbol from gold.gold_candlestick")

    assert {row["symbol"] for row in rows} == {*SYMBOLS}


@pytest.mark.parametrize("table", [name for name in published.TABLES if name != "gold_gauge"])
def test_symbols_whose_rows_are_the_same_have_the_same_gold(odd: Filled, table: str) -> None:
    rows = odd.gold(f"select * exclude (symbol{BY_TIME.get(table, '')}) from gold.{table}")

    assert len(rows) == len({tuple(row.values()) for row in rows}) * len(SYMBOLS)


def test_gauge_has_a_row_per_symbol_and_a_total_of_each_class(odd: Filled) -> None:
    rows = odd.gold("select * from gold.gold_gauge")
    totals = [row for row in rows if row["symbol"] == "*"]
    of_symbols = [row for row in rows if row["symbol"] != "*"]
    counts = Counter(symbol_class(symbol) for symbol in SYMBOLS)

    assert {row["symbol"] for row in of_symbols} == {*SYMBOLS} - {"*"}
    assert len({(row["volume"], row["gauge_max"], row["as_of"]) for row in of_symbols}) == 1
    assert {row["symbol_class"]: row["sales"] / of_symbols[0]["sales"] for row in totals} == counts


def test_gold_holds_what_later_builds_brought(odd: Filled) -> None:
    rows = odd.gold(
        "select symbol, count(*) as minutes, max(candle_high) as high, max(revision) as revision "
        "from gold.gold_candlestick group by all"
    )
    (mark,) = odd.gold("select distinct watermark from gold.gold_kpi")

    assert {tuple(row.values())[1:] for row in rows} == {(13, 99, 1)}
    assert mark["watermark"].minute == 42


def test_the_audit_names_candles_of_any_symbol_that_differ_from_their_trades(odd: Filled) -> None:
    report = audit(odd.settings, since=START.date(), shown=1_000)

    assert {difference.symbol for difference in report.differences} == {*SYMBOLS}


def minute_of(symbol: str, t: int) -> list[Trades | Watermark]:
    """A trade at `t` and the watermark that ends its minute."""
    trades = [Trade(t, Decimal(10), Decimal(1))]
    return [
        Trades(symbol, "replay", "r", "c", t, trades),
        Watermark(symbol, "replay", "r", t + 60_000, t + 60_000),
    ]


def loaded(filled: Filled) -> list[int]:
    """How many one-minute candles and rejections RAW has after a load."""
    load(filled.settings)
    (row,) = filled.warehouse(
        """select
            (select count(*) from raw.candles where candle_interval = '1m') as candles,
            (select count(*) from raw.rejected) as rejected"""
    )
    return list(row.values())


@pytest.mark.drill
def test_such_symbols_in_kafka_are_rejected_and_those_beside_them_come_to_gold(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(archive_flush_interval_s=1, kafka_partitions=1)
    ensure_topics(settings)
    filled = Filled(settings)
    invalid = [symbol for symbol in SYMBOLS if not is_symbol(symbol)]
    log = tmp_path / "log"
    with running(settings, "candles", log=log), running(settings, "archive", log=log):
        for minute in range(2):
            t = round(START.timestamp() * 1000) + minute * 60_000
            sent = [m for symbol in (*invalid, *PLAIN) for m in minute_of(symbol, t)]
            send_messages(settings, STOCKS_TOPIC, sent)
            await_consumed(settings, STOCKS_TOPIC, "candles")
            sent_on = [
                len(read_topic(settings, topic)) for topic in (CANDLES_TOPIC, REJECTED_TOPIC)
            ]
            await_(lambda found=sent_on: loaded(filled) == found, what="all messages to be loaded")
            filled.load_and_build()

    assert [report.built for report in filled.builds] == [True, True]
    counts = filled.gold("select symbol, count(*) as n from gold.gold_candlestick group by all")
    assert {tuple(row.values()) for row in counts} == {(symbol, 2) for symbol in PLAIN}
    rejected = values(read_topic(settings, REJECTED_TOPIC))
    assert {record["reason"] for record in rejected} == {"schema"}
    assert len(rejected) == 4 * len(invalid)
    (row,) = filled.warehouse("select count(*) as n from bronze.bronze_rejected")
    assert row["n"] == len(rejected)
