"""Rollups, one behaviour each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal

import pytest

from app.contracts import Candle, Trade, Trades, Watermark
from app.market.rollup_periods import rollup_periods
from app.market.sessions import NEW_YORK, Session, session_of
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.rollup import INTERVALS
from topologies.core.sums import NO_TRADES, CandleSums, merge

MINUTE = 60_000
HOUR = 60 * MINUTE


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK).timestamp() * 1000)


class Day:
    """Feeds one symbol trades and watermarks at times of New York's clock; keeps the rollups."""

    def __init__(self, symbol="SPY", feed="live", date="2024-07-02"):
        self.candles = SymbolCandles(symbol, Rules(feed), Counter())
        self.symbol, self.feed, self.date = symbol, feed, date
        self.made: list[Candle] = []
        self.offset = -1

    def send(self, message) -> list[Candle]:
        self.offset += 1
        made = self.candles.apply(message, self.offset, None).rollups
        self.made += made
        return made

    def trade(self, clock, price="10", size="100", c=("1",)) -> list[Candle]:
        t = at(f"{self.date} {clock}")
        trade = Trade(t, Decimal(price), Decimal(size), list(c))
        received_at = max(t, self.candles.watermark)
        return self.send(Trades(self.symbol, self.feed, "a", "c", received_at, [trade]))

    def until(self, clock, covered=None) -> list[Candle]:
        """Send a watermark, with the coverage of the minute that ends then if given."""
        t = at(f"{self.date} {clock}")
        minute = None if covered is None else t - MINUTE
        return self.send(Watermark(self.symbol, self.feed, "a", t, t, minute, covered))

    def report(self, clock, covered, after_ms=0) -> list[Candle]:
        """Report the coverage of a minute after its end."""
        minute = at(f"{self.date} {clock}")
        now = self.candles.watermark
        received_at = now + after_ms
        return self.send(Watermark(self.symbol, self.feed, "a", received_at, now, minute, covered))


def brief(records: list[Candle]) -> list[tuple[str, str, int | None]]:
    return [(r.interval, r.status, r.revision) for r in records]


def of(records: list[Candle], interval: str) -> Candle:
    (found,) = [r for r in records if r.interval == interval]
    return found


def test_each_final_minute_writes_a_partial_of_its_rollups_and_their_end_makes_them_final():
    day = Day()
    assert day.trade("10:00:01") == []
    every = [(interval, "partial", None) for interval in INTERVALS]
    assert brief(day.until("10:01")) == every
    day.trade("10:01:01")
    assert brief(day.until("10:02")) == every
    assert brief(day.until("10:05")) == [("5m", "final", 0)]
    assert brief(day.until("10:15")) == [("15m", "final", 0)]
    assert brief(day.until("11:00")) == [("1h", "final", 0)]
    assert day.until("16:00") == []
    assert brief(day.until("20:00")) == [("1d", "final", 0)]


def test_a_revised_minute_revises_what_is_final_and_changes_what_is_open():
    day = Day()
    day.trade("10:00:01", "10")
    day.until("10:06")
    made = day.trade("10:00:02", "12")
    assert brief(made) == [
        ("5m", "revised", 1),
        ("15m", "partial", None),
        ("1h", "partial", None),
        ("1d", "partial", None),
    ]
    assert {(r.high, r.close, r.trade_count, r.late_count) for r in made} == {(12, 12, 2, 1)}


def test_a_minute_past_when_first_received_of_makes_its_rollup_final_at_once():
    day = Day()
    day.until("10:10")
    assert brief(day.trade("10:00:01"))[0] == ("5m", "final", 0)


def test_what_a_minute_that_can_change_no_more_gave_stays_in_its_hour():
    day = Day()
    day.trade("10:00:01", "50")
    day.until("10:30")  # 10:00 is past the allowed lateness
    day.trade("10:40:01", "10")
    day.until("10:41")
    made = day.trade("10:40:02", "11")
    assert (of(made, "1h").open, of(made, "1h").high, of(made, "1h").close) == (50, 50, 11)
    assert of(made, "1h").trade_count == 3
    assert set(day.candles.windows) == {at("2024-07-02 10:40")}


def test_rollups_are_dropped_at_their_end_and_the_allowed_lateness():
    day = Day()
    day.trade("10:00:01")
    day.until("10:19:59.999")
    assert (0, at("2024-07-02 10:00")) in day.candles.rollups.open
    day.until("10:20")
    assert (0, at("2024-07-02 10:00")) not in day.candles.rollups.open
    day.until("20:15")
    assert day.candles.rollups.open == {}


def test_an_hour_that_the_session_begins_in_is_two_rollups():
    day = Day()
    day.trade("09:29:01")
    day.trade("09:30:01")
    day.until("10:00")
    hours = {(r.window_start, r.window_end, r.session) for r in day.made if r.interval == "1h"}
    nine, half, ten = (at(f"2024-07-02 {clock}") for clock in ("09:00", "09:30", "10:00"))
    assert hours == {(nine, half, "pre"), (half, ten, "regular")}


def test_a_day_is_its_regular_session_with_the_other_volume_beside():
    day = Day()
    day.trade("08:00:01", "90", "7")
    assert [r.interval for r in day.until("09:00") if r.interval == "1d"] == []
    day.trade("09:30:01", "10", "100")
    day.trade("15:59:59", "11", "50")
    day.trade("16:00:01", "99", "3")
    of_day = of(day.until("20:00"), "1d")
    assert (of_day.open, of_day.high, of_day.low, of_day.close) == (10, 11, 10, 11)
    assert (of_day.volume, of_day.pre_volume, of_day.post_volume) == (150, 7, 3)
    assert (of_day.session, of_day.session_date) == ("regular", "2024-07-02")
    assert of_day.window_start == at("2024-07-02 04:00")
    assert of_day.window_end == at("2024-07-02 20:00")


def test_a_day_without_a_regular_minute_has_no_record():
    day = Day()
    day.trade("08:00:01")
    day.trade("16:00:01")
    day.until("20:00")
    day.until("20:15")
    assert "1d" not in {r.interval for r in day.made}


def test_what_changes_nothing_of_a_day_writes_no_record_of_it():
    day = Day()
    day.trade("09:29:01")
    day.trade("09:30:01")
    day.until("09:31")
    assert brief(day.report("09:29", 30_000)) == [
        ("5m", "revised", 1),
        ("15m", "revised", 1),
        ("1h", "revised", 1),
    ]


def test_coverage_of_a_rollup_is_the_sum_of_what_was_reported_for_its_minutes():
    day = Day()
    day.trade("10:00:01")
    day.until("10:01", covered=60_000)
    day.trade("10:01:01")
    made = day.until("10:02")
    assert {r.covered_ms for r in made} == {60_000}
    made = day.report("10:01", 1_000)
    assert {r.covered_ms for r in made} == {61_000}


def test_coverage_of_many_minutes_that_changes_within_a_second_is_one_record_of_their_rollup():
    day = Day()
    for number in range(6):
        day.trade(f"10:0{number}:01")
    day.until("10:07")
    made = [day.report(f"10:0{n}", 1_000 * (n + 1), after_ms=n) for n in range(6)]
    assert [len(records) for records in made] == [4, 0, 0, 0, 0, 0]
    later = day.report("10:05", 10_000, after_ms=1_000)
    assert brief(later) == [
        ("5m", "revised", 2),
        ("5m", "partial", None),
        ("15m", "partial", None),
        ("1h", "partial", None),
        ("1d", "partial", None),
    ]
    assert [r.covered_ms for r in later] == [15_000, 10_000, 25_000, 25_000, 25_000]


def test_a_repeated_trade_counts_in_a_rollup_when_its_minute_has_a_record_again():
    day = Day()
    day.trade("10:00:01")
    day.until("10:01")
    assert day.trade("10:00:01") == []
    day.trade("10:01:01")
    assert of(day.until("10:02"), "5m").duplicate_count == 0
    assert of(day.trade("10:01:02"), "5m").duplicate_count == 0
    assert of(day.trade("10:00:02"), "5m").duplicate_count == 1


def test_minutes_without_eligible_trades_lend_their_volume_and_no_price():
    day = Day()
    day.trade("10:00:01", "99", "1", c=("12",))
    day.trade("10:01:01", "10")
    made = of(day.until("10:02"), "5m")
    assert (made.open, made.high, made.low, made.close) == (10, 10, 10, 10)
    assert (made.volume, made.price_source) == (101, "last")


def test_high_and_low_of_trades_that_may_set_them_widen_the_range():
    day = Day()
    day.trade("10:00:01", "99", c=("30",))
    day.trade("10:01:01", "10")
    made = of(day.until("10:02"), "5m")
    assert (made.open, made.high, made.low, made.close) == (10, 99, 10, 10)


def test_minutes_while_the_exchange_is_closed_make_no_day():
    day = Day(date="2024-07-06")  # a Saturday
    day.trade("12:00:01")
    assert [r.interval for r in day.until("12:01")] == ["5m", "15m", "1h"]


def test_a_day_of_what_trades_around_the_clock_is_that_of_utc_with_nothing_beside():
    day = Day("BINANCE:BTCUSDT")
    day.trade("19:59:01")
    day.trade("20:00:01")
    day.until("20:01")
    days = {r.window_start: r for r in day.made if r.interval == "1d"}
    midnight = at("2024-07-02 20:00")
    assert set(days) == {midnight - 24 * HOUR, midnight}
    assert {(r.pre_volume, r.post_volume, r.session) for r in days.values()} == {
        (None, None, "continuous")
    }


@pytest.mark.parametrize(
    "date",
    [
        "2024-07-02",
        "2024-07-03",  # half day
        "2024-07-04",  # holiday
        "2024-03-10",  # clocks go forward
        "2024-11-03",  # clocks go back
        "1997-10-27",  # closed at 15:30
        "2002-09-11",  # opened at noon
        "2005-06-01",  # closed at 15:56
    ],
)
def test_no_rollup_crosses_sessions_and_each_minute_lies_in_one_of_each_interval(date):
    midnight = at(f"{date} 00:00")
    bounds: dict[tuple[int, int], set[tuple[int, Session]]] = {}
    for minute in range(midnight, midnight + 24 * HOUR, MINUTE):
        session, session_date = session_of("SPY", "live", minute)
        spans = rollup_periods(minute, session, session_date)
        assert [s.interval_index for s in spans] == (
            [0, 1, 2] if session == "closed" else [0, 1, 2, 3]
        )
        for span in spans:
            assert span.start <= minute < span.end
            bounds.setdefault(span[:2], set()).add((span.end, span.session))
        for span in spans[:3]:
            ends = (span.start, span.end - MINUTE)
            assert {session_of("SPY", "live", m) for m in ends} == {(session, session_date)}
    assert {len(found) for found in bounds.values()} == {1}  # no two of one identity


def test_merging_with_nothing_changes_nothing():
    some = CandleSums(1, *map(Decimal, "2312"), 5, 6, 7, 8, Decimal(3), Decimal(9), covered_ms=4)
    assert merge(some, NO_TRADES) == merge(NO_TRADES, some) == some


def test_of_ties_the_first_opens_and_the_last_closes():
    def sums(price: str) -> CandleSums:
        return CandleSums(1, *[Decimal(price)] * 4, 5, 5, 5, 5)

    merged = merge(sums("1"), sums("2"))
    assert (merged.open, merged.high, merged.low, merged.close) == (1, 2, 1, 2)


def test_a_duplicate_in_a_minute_with_a_record_changes_no_rollup_until_its_next_record():
    day = Day()
    day.trade("15:59")
    day.trade("16:01")
    day.until("16:05")
    assert day.trade("15:59") == []  # the same print again
    revised = day.trade("16:01", size="0")  # nothing of it is in the day but its volume
    assert {record.interval for record in revised} == {"5m", "15m", "1h"}
