"""Rows that came into the lake past the parser: in SQL their symbol is only a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from app.settings import Settings
from app.warehouse import published
from app.warehouse.audit import audit
from tests.integration.warehouse.conftest import Filled, rising
from tests.integration.warehouse.lake_writer import (
    START,
    LakeWriter,
    candle,
    quote,
    trade,
    watermark,
)

PLAIN = ("AAPL", "MSFT")
APOSTROPHES = ("'; drop table x; --", "'", "O'NEIL", "Z'")
OTHERS = ('A"B', "A\\B", "A\\", "%", "%s", "{{ 1 }}", "{% raw %}", "$1", "?", "NULL", "null")
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


def one_more_minute(lake: LakeWriter, symbols: Iterable[str]) -> None:
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
            one_more_minute(odd.lake, before)
        odd.load_and_build()
        before = symbols
    one_more_minute(odd.lake, before)
    odd.load_and_build()
    return odd


def test_the_builds_succeed_one_after_the_other(odd: Filled) -> None:
    assert [report.whole for report in odd.builds] == [True, False, False, False]
    assert all(report.built for report in odd.builds)


def test_every_symbol_is_in_gold_as_it_stands_in_the_lake(odd: Filled) -> None:
    rows = odd.gold("select distinct symbol from gold.gold_candlestick")

    assert {row["symbol"] for row in rows} == {*SYMBOLS}


@pytest.mark.parametrize("table", [name for name in published.TABLES if name != "gold_gauge"])
def test_symbols_whose_rows_are_the_same_have_the_same_gold(odd: Filled, table: str) -> None:
    rows = odd.gold(f"select * exclude (symbol{BY_TIME.get(table, '')}) from gold.{table}")

    assert len(rows) == len({tuple(row.values()) for row in rows}) * len(SYMBOLS)


def test_gold_holds_what_later_builds_brought(odd: Filled) -> None:
    rows = odd.gold(
        "select symbol, count(*) as minutes, max(candle_high) as high, max(revision) as revision "
        "from gold.gold_candlestick group by all"
    )
    (mark,) = odd.gold("select distinct watermark from gold.gold_kpi")

    assert {tuple(row.values())[1:] for row in rows} == {(13, 99, 1)}
    assert mark["watermark"].minute == 42


def test_the_audit_names_candles_of_any_symbol_that_differ_from_their_trades(odd: Filled) -> None:
    report = audit(odd.settings, since=START.date())

    assert {difference.symbol for difference in report.differences} == {*sorted(SYMBOLS)[:2]}
