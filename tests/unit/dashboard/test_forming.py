"""The open bar of a longer interval."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.contracts import Candle
from app.dashboard.bar import Bar, bar_of
from app.dashboard.forming import forming_bar
from tests.candle_maker import MINUTE, candle, partial

CRYPTO = "BINANCE:BTCUSDT"
FIVE = 1_700_000_100_000 - 1_700_000_100_000 % 300_000


def bar(made: Candle, start: int, width: int = MINUTE, **fields: Any) -> Bar:
    interval = "1m" if width == MINUTE else "5m"
    moved = msgspec.structs.replace(
        made, window_start=start, window_end=start + width, interval=interval
    )
    return msgspec.structs.replace(bar_of(moved, "replay", interval), **fields)


def rollup(**fields: Any) -> Bar:
    values = {"open": 100.0, "high": 105.0, "low": 99.0, "volume": 30.0, "trade_count": 3}
    return bar(partial(CRYPTO, close=104), FIVE, 5 * MINUTE, **(values | fields))


def open_minute(number: int, close: float, **fields: Any) -> Bar:
    return bar(partial(CRYPTO, close=close), FIVE + number * MINUTE, **fields)


def final_minute(number: int, close: float) -> Bar:
    return bar(candle(CRYPTO, close=close), FIVE + number * MINUTE)


def test_the_open_minute_is_added_to_the_rollup_of_the_final_ones() -> None:
    minutes = [final_minute(1, 104), open_minute(2, 107, low=98.0)]
    found = forming_bar(rollup(), minutes, "5m")
    assert found is not None
    assert (found.start, found.end) == (FIVE, FIVE + 5 * MINUTE)
    assert (found.open, found.high, found.low, found.close) == (100, 107, 98, 107)
    assert (found.volume, found.trade_count, found.status) == (40, 4, "partial")


def test_the_first_minute_of_a_window_opens_it() -> None:
    found = forming_bar(rollup(), [final_minute(4, 104), open_minute(5, 110)], "5m")
    assert found is not None
    assert found.start == FIVE + 5 * MINUTE
    assert (found.open, found.close, found.volume) == (110, 110, 10)


def test_without_an_open_minute_the_rollup_stands_as_it_is() -> None:
    assert forming_bar(rollup(), [final_minute(1, 104)], "5m") is None


def test_a_minute_that_the_rollup_has_already_is_not_added_again() -> None:
    """Its final candle is in another topic, which may be read a moment later."""
    has_minute_2 = rollup(close_time=FIVE + 3 * MINUTE - 1)
    assert forming_bar(has_minute_2, [open_minute(2, 104)], "5m") is None
    found = forming_bar(has_minute_2, [open_minute(2, 104), open_minute(3, 107)], "5m")
    assert found is not None
    assert (found.high, found.close, found.volume) == (107, 107, 40)


def test_several_minutes_may_be_open() -> None:
    found = forming_bar(None, [open_minute(0, 101), open_minute(1, 103)], "5m")
    assert found is not None
    assert (found.open, found.close, found.volume) == (101, 103, 20)


def test_a_window_ends_with_its_session() -> None:
    """The hour of the open is cut at 09:30, New York."""
    nine_31 = int(datetime(2024, 1, 16, 14, 31, tzinfo=UTC).timestamp() * 1000)
    minute = bar(partial("AAPL"), nine_31, session="regular", session_date="2024-01-16")
    found = forming_bar(None, [minute], "1h")
    assert found is not None
    assert (found.start, found.end) == (nine_31 - MINUTE, nine_31 + 29 * MINUTE)


def test_a_stocks_day_has_the_prices_of_its_regular_session_only() -> None:
    eight = int(datetime(2024, 1, 16, 13, 0, tzinfo=UTC).timestamp() * 1000)
    minute = bar(partial("AAPL"), eight, session="pre", session_date="2024-01-16")
    assert forming_bar(None, [minute], "1d") is None


def test_a_stocks_day_begins_with_its_pre_market_whether_or_not_it_has_a_rollup() -> None:
    """Another start would be a second candle beside the rollup's."""
    ten = int(datetime(2024, 1, 16, 15, 0, tzinfo=UTC).timestamp() * 1000)
    minute = bar(partial("AAPL"), ten, session="regular", session_date="2024-01-16")
    found = forming_bar(None, [minute], "1d")
    assert found is not None
    assert (found.start, found.end) == (ten - 360 * MINUTE, ten + 600 * MINUTE)
