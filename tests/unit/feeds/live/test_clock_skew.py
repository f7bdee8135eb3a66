"""Whose time is wrong: the machine's clock, the server's Date, or that of a symbol's trades."""

from __future__ import annotations

import pytest

from app.feeds.live.clock_skew import (
    MAX_MOVE_MS,
    UNVERIFIED_MS,
    ClockSkew,
    Disagreement,
)
from app.feeds.live.coverage import CoverageCheckpoint

NOW = 1_731_600_060_000
HOUR = 3_600_000
SYMBOLS = tuple("ABCDEFGHIJ")


class _Skew:
    """A `ClockSkew` on a clock that the test moves; lags are by symbol."""

    def __init__(self, symbols: int = len(SYMBOLS)) -> None:
        self.now_ms = NOW
        self.skew = ClockSkew(NOW, symbols)

    def trades(self, *symbols: str, lag_ms: int) -> int:
        """A frame of one trade per symbol; how far the clock is moved because of it."""
        self.skew.observe([(s, self.now_ms - lag_ms) for s in symbols], self.now_ms)
        return self.moved(self.skew.behind_ms(self.now_ms))

    def date(self, lag_ms: int) -> int:
        """Receive a response whose Date shows the clock `lag_ms` ahead (to within a second)."""
        self.skew.date_received(self.now_ms - lag_ms - 500, self.now_ms, self.now_ms)
        return self.moved(self.skew.behind_ms(self.now_ms))

    def pass_ms(self, ms: int = 1_000) -> int:
        self.now_ms += ms
        return self.moved(self.skew.each_second(self.now_ms))

    def newest_t(self, now_ms: int, symbol: str = "A") -> int:
        return self.skew.newest_t(symbol, now_ms)

    def moved(self, behind_ms: int) -> int:
        if behind_ms:
            self.skew.moved_forward(behind_ms)
            self.now_ms += behind_ms
        return behind_ms


def test_a_clock_within_two_seconds_is_left_alone() -> None:
    it = _Skew()
    it.date(-2_000)
    assert it.trades(*SYMBOLS, lag_ms=-2_000) == 0
    assert it.newest_t(it.now_ms) == it.now_ms


def test_a_clock_that_date_and_trades_find_behind_is_moved_before_the_first_trade_is_sent() -> None:
    it = _Skew()
    assert it.date(-HOUR) == 0, "the server alone moves no clock"
    assert it.trades("A", lag_ms=-HOUR) == HOUR
    assert it.trades("B", lag_ms=0) == 0
    assert it.skew.moved_ms == HOUR


def test_the_date_bounds_how_far_trades_move_the_clock() -> None:
    it = _Skew()
    it.date(-300_000)
    assert 299_500 <= it.trades("A", lag_ms=-320_000) <= 300_500


def test_trades_do_not_move_a_clock_that_the_date_confirms() -> None:
    it = _Skew()
    it.date(0)
    for symbol in SYMBOLS:
        assert it.trades(symbol, lag_ms=-HOUR) == 0
    assert it.skew.has_wrong_times("A") is True


def test_a_date_does_not_move_a_clock_that_trades_confirm() -> None:
    it = _Skew()
    it.date(-HOUR)
    assert it.trades("A", "B", lag_ms=100) == 0
    assert it.trades("C", lag_ms=-HOUR) == 0
    assert it.skew.date_is_outvoted


def test_one_symbol_moves_no_clock_however_often_it_trades() -> None:
    it = _Skew(symbols=1)
    for _ in range(20):
        assert it.trades(*["A"] * 1_000, lag_ms=-HOUR) == 0
        it.pass_ms()


def test_without_a_date_more_than_half_of_all_symbols_move_the_clock() -> None:
    it = _Skew()
    for symbol in SYMBOLS[:5]:
        assert it.trades(symbol, lag_ms=-HOUR) == 0
    assert it.skew.has_wrong_times("A") is None
    assert it.trades(SYMBOLS[5], lag_ms=-HOUR - 100) == HOUR


def test_without_a_date_two_symbols_are_too_few() -> None:
    it = _Skew(symbols=2)
    assert it.trades("A", "B", lag_ms=-HOUR) == 0


def test_without_a_date_symbols_that_disagree_among_themselves_move_no_clock() -> None:
    it = _Skew()
    for number, symbol in enumerate(SYMBOLS):
        assert it.trades(symbol, lag_ms=-HOUR - number * 10_000) == 0


def test_a_symbol_has_one_vote_the_median_of_its_last_seconds() -> None:
    it = _Skew(symbols=3)
    for _ in range(3):
        it.trades("A", "B", "C", lag_ms=100)
        it.pass_ms()
    for _ in range(3):
        assert it.trades("A", "B", lag_ms=-HOUR) == 0, "two seconds may be chance"
        it.pass_ms()
    assert it.skew.has_wrong_times("C") is None


def test_a_clock_that_is_weeks_behind_is_not_corrected_and_it_is_known() -> None:
    it = _Skew()
    it.date(-MAX_MOVE_MS - HOUR)
    assert it.trades("A", lag_ms=-MAX_MOVE_MS - HOUR) == 0
    assert it.skew.is_too_far_behind


def test_on_a_clock_that_is_ahead_watermarks_go_by_the_date() -> None:
    it = _Skew()
    it.date(HOUR)
    assert abs(it.newest_t(it.now_ms) - (it.now_ms - HOUR)) <= 1_000
    it.trades("A", lag_ms=HOUR)
    it.pass_ms(600_000)
    assert abs(it.newest_t(it.now_ms) - (it.now_ms - HOUR)) <= 1_000
    assert it.skew.is_future(it.now_ms, it.now_ms), "an hour ahead of the true time"


def test_a_wrong_symbol_ahead_does_not_raise_watermarks_of_a_clock_that_is_ahead() -> None:
    it = _Skew()
    it.date(HOUR)
    it.trades("A", lag_ms=0)
    it.trades("B", "C", "D", lag_ms=HOUR + 100)
    assert it.newest_t(it.now_ms) <= it.now_ms - HOUR + 1_000


def test_a_date_that_trades_contradict_holds_no_watermark_back() -> None:
    it = _Skew()
    it.date(HOUR)
    it.trades("A", lag_ms=100)
    assert it.newest_t(it.now_ms) == it.now_ms


def test_a_late_feed_has_sent_no_more_than_what_was_received_of_it() -> None:
    it = _Skew()
    it.date(0)
    it.trades("A", "B", "C", lag_ms=10_000)
    assert it.skew.lag_ms(it.now_ms) == 10_000
    assert it.newest_t(it.now_ms + 5_000) == it.now_ms - 10_000


def test_the_first_trade_alone_shows_a_late_feed() -> None:
    it = _Skew()
    assert it.trades("A", lag_ms=HOUR) == 0
    assert it.newest_t(it.now_ms + 1_000) == it.now_ms - HOUR


def test_a_late_feed_that_falls_silent_has_sent_all_of_it() -> None:
    it = _Skew()
    it.trades("A", "B", "C", lag_ms=10_000)
    assert it.newest_t(it.now_ms + 70_000) == it.now_ms - 10_000
    assert it.newest_t(it.now_ms + 70_001) == it.now_ms + 70_001


@pytest.mark.parametrize("in_time", ["BC", ""])
def test_a_late_symbol_holds_up_itself_alone(in_time: str) -> None:
    it = _Skew()
    it.date(0)
    it.trades("A", lag_ms=HOUR)
    it.trades(*in_time, lag_ms=100)
    assert it.newest_t(it.now_ms, "B") == it.now_ms
    assert it.newest_t(it.now_ms, "A") == it.now_ms - HOUR


def test_single_late_reports_hold_up_nothing() -> None:
    it = _Skew()
    it.date(0)
    for _ in range(4):
        it.trades("A", "B", "C", lag_ms=100)
        it.pass_ms()
    it.trades("A", "B", "C", lag_ms=600_000)
    assert it.newest_t(it.now_ms) == it.now_ms


def test_nothing_is_promised_before_something_has_confirmed_the_clock() -> None:
    it = _Skew()
    it.skew.resume_from(CoverageCheckpoint(NOW - HOUR, {}), NOW)
    it.trades("B", lag_ms=HOUR)
    assert it.newest_t(NOW, "B") == NOW - HOUR
    it = _Skew()
    it.skew.resume_from(CoverageCheckpoint(NOW - HOUR, {}), NOW)
    it.trades("B", lag_ms=0)
    assert it.newest_t(NOW + UNVERIFIED_MS) == NOW - HOUR
    assert it.newest_t(NOW + UNVERIFIED_MS + 1) == NOW + UNVERIFIED_MS + 1
    it.date(0)
    assert it.newest_t(it.now_ms) == it.now_ms


def test_whose_time_is_wrong_is_open_until_a_date_comes_that_is_no_older_than_the_fault() -> None:
    it = _Skew()
    it.date(0)
    it.pass_ms()
    it.trades("A", lag_ms=-HOUR)
    assert it.skew.has_wrong_times("A") is None
    it.date(0)
    assert it.skew.has_wrong_times("A") is True


def test_without_a_date_more_than_half_of_the_symbols_find_one_wrong() -> None:
    it = _Skew(symbols=5)
    it.trades("B", "C", "D", "E", lag_ms=100)
    it.pass_ms()
    it.trades("A", lag_ms=-HOUR)
    it.pass_ms()
    it.trades("B", "C", lag_ms=100)
    assert it.skew.has_wrong_times("A") is None, (
        "the machine may have stood still since they agreed"
    )
    it.trades("D", lag_ms=100)
    assert it.skew.has_wrong_times("A") is True


def test_a_machine_that_stood_still_is_found_by_the_next_date() -> None:
    it = _Skew()
    it.date(0)
    for _ in range(5):
        it.trades(*SYMBOLS, lag_ms=100)
        it.pass_ms()
    for _ in range(15):
        assert it.trades(*SYMBOLS, lag_ms=-300_000) == 0
        assert it.pass_ms() == 0
    assert it.skew.has_wrong_times("A") is None
    it.date(-300_000)
    assert 299_000 <= it.trades("B", lag_ms=-300_000) <= 301_000


def test_a_symbol_disagrees_when_several_seconds_of_its_trades_do() -> None:
    it = _Skew()
    it.date(0)
    found = []
    for _ in range(6):
        it.trades("A", "B", "C", lag_ms=100)
        it.trades("D", lag_ms=HOUR)
        it.trades("E", lag_ms=-HOUR)
        it.pass_ms()
        found.append([disagreement.symbol for disagreement in it.skew.disagreements(it.now_ms)])
    assert found == [[], [], ["E"], ["E"], ["D", "E"], ["D", "E"]]
    assert Disagreement("D", HOUR) in it.skew.disagreements(it.now_ms)
    assert [s for s in "ABCDE" if it.skew.agrees(s)] == ["A", "B", "C"]


def test_a_burst_that_is_reported_late_is_no_wrong_symbol() -> None:
    it = _Skew()
    it.date(0)
    for _ in range(10):
        it.trades("A", "B", "C", "D", lag_ms=100)
        it.trades(*["D"] * 100, lag_ms=30_000)
        it.pass_ms()
        assert it.skew.disagreements(it.now_ms) == []
