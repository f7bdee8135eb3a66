"""Candles of days: a stock's starts with its pre-market in Kafka, and with its date in gold."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, ROLLUP_TOPICS, Candle, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.market.rollup_periods import rollup_periods
from app.market.sessions import Session, trading_day
from app.settings import Settings
from tests.candle_maker import START, candle, partial, publish_gold

MON, TUE, WED, THU = (date(2024, 3, 4) + timedelta(days=n) for n in range(4))


@pytest.fixture
def page(settings: Settings) -> Page:
    """Gold has the days until Wednesday, Kafka those from Tuesday and a minute of Thursday."""
    publish_gold(settings, "1.duckdb", candlestick_1d=[gold_day(day) for day in (MON, TUE, WED)])
    live = LiveCandles("replay")
    apply(live, ROLLUP_TOPICS["1d"], live_day(TUE), live_day(WED))
    apply(live, LIVE_TOPIC, regular_minute(THU))
    page = Page(settings, live, GoldReader(settings), lambda: START)
    page.gold.refresh()
    return page


def test_a_stocks_day_that_kafka_and_gold_hold_is_shown_once(page: Page) -> None:
    candles, _ = page.candles("AAPL", 10, "1d")
    assert [(found.session_date, found.source) for found in candles] == [
        (MON.isoformat(), "gold"),
        (TUE.isoformat(), "live"),
        (WED.isoformat(), "live"),
        (THU.isoformat(), "live"),
    ]


def test_a_day_starts_at_midnight_of_its_session_date_wherever_it_comes_from(page: Page) -> None:
    candles, _ = page.candles("AAPL", 10, "1d")
    midnights = [midnight_ms(day) for day in (MON, TUE, WED, THU)]
    assert [found.start for found in candles] == midnights
    assert [found.end for found in candles] == [start + 86_400_000 for start in midnights]
    changed, _ = page.changes("AAPL", "1d", 1)
    assert [found.start for found in changed] == midnights[2:]


def test_days_before_one_do_not_include_it(page: Page) -> None:
    older, _ = page.candles("AAPL", 10, "1d", before_ms=midnight_ms(WED))
    assert [found.session_date for found in older] == [MON.isoformat(), TUE.isoformat()]


def test_the_days_of_what_trades_around_the_clock_are_those_of_utc(page: Page) -> None:
    bitcoin = "BINANCE:BTCUSDT"
    apply(page.live, CANDLES_TOPIC, candle(bitcoin))
    apply(page.live, LIVE_TOPIC, partial(bitcoin, minute=1))
    (today,), _ = page.candles(bitcoin, 10, "1d")
    assert (today.start, today.session_date) == (midnight_ms(date(2023, 11, 14)), "2023-11-14")


def apply(live: LiveCandles, topic: str, *candles: Candle) -> None:
    live.apply(topic, [TopicRecord(encode(each), each.window_end) for each in candles])


def live_day(day: date) -> Candle:
    bounds = trading_day(day.isoformat())
    assert bounds
    assert bounds.pre == midnight_ms(day) + 9 * 3_600_000  # 04:00 in New York's winter
    return candle(
        interval="1d",
        window_start=bounds.pre,
        window_end=bounds.end,
        session="regular",
        session_date=day.isoformat(),
    )


def regular_minute(day: date) -> Candle:
    ten = midnight_ms(day) + 15 * 3_600_000
    assert len(rollup_periods(ten, Session.REGULAR, day.isoformat())) == 4
    return partial(window_start=ten, session="regular", session_date=day.isoformat())


def gold_day(day: date) -> dict[str, Any]:
    names = ("candle_open", "candle_high", "candle_low", "candle_close")
    midnight = datetime.combine(day, time.min)
    times = {"candle_time": midnight, "candle_end": midnight + timedelta(days=1)}
    own = {"symbol": "AAPL", "session": "regular", "session_date": day}
    return own | times | dict.fromkeys(names, 100.0)


def midnight_ms(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
