"""Summary of a symbol: whether each figure comes from live candles or from gold."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from app.dashboard.bar import Bar, bar_of
from app.dashboard.day import day_totals
from app.dashboard.summary import (
    SymbolSummary,
    class_gauges,
    display_digits,
    gauges,
    summarize_symbol,
)
from app.market.symbols import SymbolClass
from tests.candle_maker import MINUTE, START, candle

DAY = "2023-11-14"
BTC = "BINANCE:BTCUSDT"
US_STOCK, CRYPTO = SymbolClass.US_STOCK, SymbolClass.CRYPTO


def bars(*prices: float, **fields: Any) -> list[Bar]:
    made = (candle(minute=m, close=p, **fields) for m, p in enumerate(prices))
    return [bar_of(record, "replay") for record in made]


def gold_row(as_of: int = START, **columns: Any) -> dict[str, Any]:
    moment = datetime.fromtimestamp(as_of / 1000, UTC).replace(tzinfo=None)
    return {
        "symbol": "AAPL",
        "current_price": 50.0,
        "reference_price": 40.0,
        "change_basis": "previous_close",
        "day_low": 30.0,
        "day_high": 60.0,
        "volume": 5.0,
        "traded_value": 250.0,
        "vwap": 50.0,
        "as_of": moment,
        "session": "continuous",
        "session_date": date.fromisoformat(DAY),
        "relative_volatility": 1.5,
    } | columns


def summary(session: list[Bar], gold: dict[str, Any] | None, symbol: str = "AAPL") -> SymbolSummary:
    found = summarize_symbol(symbol, day_totals(session), gold, [])
    assert found
    return found


def test_without_either_there_is_no_summary() -> None:
    assert summarize_symbol("AAPL", None, None, []) is None


def test_without_gold_all_is_computed_from_live_candles() -> None:
    found = summary(bars(100, 104, 98, 102), None)
    assert (found.price, found.price_source) == (102, "live")
    assert (found.change_amount, found.change_basis) == (2, "session open")
    assert found.change_percent == pytest.approx(2)
    totals = found.totals
    assert (totals.low, totals.high, totals.volume, totals.traded_value) == (98, 104, 40, 4040)
    assert (totals.vwap, totals.source, totals.since) == (101, "live", START)


def test_without_live_candles_all_is_gold() -> None:
    found = summary([], gold_row())
    assert (found.price, found.price_source, found.as_of) == (50, "gold", START)
    assert (found.totals.source, found.totals.volume, found.totals.since) == ("gold", 5, None)


def test_the_price_is_the_newer_of_both() -> None:
    assert summary(bars(100), gold_row(START)).price == 100
    assert summary(bars(100), gold_row(START + MINUTE)).price == 50


def test_the_change_is_against_golds_reference_even_for_a_live_price() -> None:
    found = summary(bars(44), gold_row())
    assert (found.change_amount, found.change_basis) == (4, "previous close")
    assert found.change_percent == pytest.approx(10)


def test_totals_come_from_the_source_with_the_larger_volume() -> None:
    assert summary(bars(100), gold_row(volume=9.0)).totals.source == "live"
    gold = summary(bars(100), gold_row(volume=11.0)).totals
    assert (gold.source, gold.volume) == ("gold", 11)
    assert (gold.low, gold.high) == (30, 100)


def test_gold_of_an_earlier_day_gives_no_totals_and_no_reference() -> None:
    found = summary(bars(100, 101), gold_row(session_date=date(2023, 11, 13), volume=999.0))
    assert (found.totals.source, found.change_basis) == ("live", "session open")
    assert found.relative_volatility is None


def test_the_session_opens_with_the_regular_session() -> None:
    early = bars(90, session="pre")
    later = bar_of(candle(minute=1, close=100, session="regular"), "replay")
    assert summary([*early, later], None).change_amount == 0


def test_full_scale_is_twice_the_typical_value_and_never_below_the_value() -> None:
    typical = summary([], gold_row(typical_volume=4.0, typical_sales=100.0))
    found = gauges([typical])["AAPL"]
    assert (found["volume"].max, found["volume"].typical) == (8, 4)
    assert (found["volume"].relative, found["sales"].relative) == (5 / 4, 250 / 100)
    assert found["sales"].max == 250


def test_without_history_full_scale_is_the_largest_symbol_of_the_class() -> None:
    small, large = summary([], gold_row()), summary([], gold_row(volume=70.0), "MSFT")
    found = gauges([small, large, summary([], gold_row(volume=9_000.0), BTC)])
    assert found["AAPL"]["volume"].max == 70
    assert found[BTC]["volume"].max == 9_000


def test_a_typical_value_of_0_counts_as_unknown() -> None:
    found = gauges([summary([], gold_row(typical_volume=0.0))])["AAPL"]["volume"]
    assert (found.typical, found.relative, found.max) == (None, None, 5)


def test_each_class_has_a_gauge_of_its_symbols() -> None:
    shares = [summary([], gold_row()), summary([], gold_row(volume=70.0), "MSFT")]
    coins = summary([], gold_row(volume=0.25), BTC)
    found = class_gauges([*shares, coins])
    assert set(found) == {US_STOCK, CRYPTO}
    assert (found[US_STOCK]["volume"].value, found[US_STOCK]["sales"].value) == (75, 500)


def test_only_volumes_of_stocks_are_added_up() -> None:
    found = class_gauges([summary([], gold_row()), summary([], gold_row(volume=0.25), BTC)])
    assert set(found[US_STOCK]) == {"volume", "sales"}
    assert set(found[CRYPTO]) == {"sales"}
    assert found[CRYPTO]["sales"].value == 250


def test_the_total_leaves_out_symbols_that_have_not_traded_for_long() -> None:
    long_ago = gold_row(session_date=date(2023, 11, 9))
    old = [summary([], long_ago, symbol) for symbol in ("OLD", BTC)]
    found = class_gauges([summary([], gold_row()), *old])
    assert set(found) == {US_STOCK}
    assert found[US_STOCK]["volume"].value == 5


def test_the_total_compares_like_with_like() -> None:
    known = summary([], gold_row(volume=50.0, typical_volume=40.0))
    new = summary([], gold_row(volume=150.0), "NEW")
    coin = summary([], gold_row(volume=3.0), BTC)

    found = class_gauges([known, new, coin])

    volume = found[US_STOCK]["volume"]
    assert (volume.value, volume.typical, volume.relative) == (50, 40, 1.25)
    assert found[CRYPTO]["sales"].value == 250


def test_without_symbols_there_are_no_gauges() -> None:
    assert gauges([]) == {}
    assert class_gauges([]) == {}


@pytest.mark.parametrize(
    ("prices", "digits"),
    [
        ([187.0, 187.5], 2),
        ([187.12, 187.1234, 187.11], 2),
        ([1.07341, 1.07342, 1.07343], 5),
        ([93120.123456], 2),
        ([0.12345], 5),
        ([0.00001234], 8),
        ([], 2),
    ],
)
def test_prices_show_the_decimals_that_most_of_them_need(prices: list[float], digits: int) -> None:
    assert display_digits(prices) == digits
