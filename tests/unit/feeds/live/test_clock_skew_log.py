"""Each wrong clock and each wrong time is reported once, by name."""

from __future__ import annotations

import pytest

from app.feeds.live.clock_skew import ClockSkew
from app.feeds.live.clock_skew_log import SkewLog

NOW = 1_731_600_060_000
HOUR = 3_600_000


class _Logged:
    """A log of a market whose lags the test gives, second by second."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now_ms = NOW
        self.skew = ClockSkew(NOW, 4)
        self.log = SkewLog(self.skew)
        self._caplog = caplog

    def pass_s(self, seconds: int, date_ms: int | None = 0, **lags_ms: int) -> list[str]:
        """What is logged while each symbol's trades arrive so late, and the clock is ahead."""
        self._caplog.clear()
        for _ in range(seconds):
            if date_ms is not None:
                server_ms = self.now_ms - date_ms - 500
                self.skew.date_received(server_ms, self.now_ms, self.now_ms)
            trades = [(s, self.now_ms - lag) for s, lag in ({"A": 0, "B": 0} | lags_ms).items()]
            self.skew.observe(trades, self.now_ms)
            self.now_ms += 1_000
            self.skew.each_second(self.now_ms)
            self.log.each_second(self.now_ms)
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> _Logged:
    return _Logged(caplog)


def test_wrong_symbols_are_named_once_and_again_when_they_were_right_meanwhile(
    logged: _Logged,
) -> None:
    for _ in range(2):
        ahead, behind = logged.pass_s(20, C=-HOUR, D=HOUR)
        assert "C by 3600.0 s. Those more than 60 s ahead are rejected (future)" in ahead
        assert "D by 3600.0 s" in behind
        assert logged.pass_s(20, C=0, D=0) == []


def test_a_drifting_symbol_is_named_once(logged: _Logged) -> None:
    lines = [line for second in range(600) for line in logged.pass_s(1, C=-500 * second)]
    assert len(lines) == 1
    assert "C by" in lines[0]


def test_symbols_in_one_connection_are_counted_from_the_twentieth_on(logged: _Logged) -> None:
    wrong = {f"S{number:02d}": -HOUR for number in range(50)}
    (line,) = logged.pass_s(3, **wrong)
    assert "S19 by 3600.0 s and 30 more symbols" in line


def test_a_rejected_trade_names_its_symbol_before_more_have_come(logged: _Logged) -> None:
    logged.pass_s(1)
    logged.skew.observe([("C", NOW + HOUR)], NOW)
    logged.log.rejected(["C", "C"])
    logged.log.rejected(["C"])
    assert len([line for line in logged._caplog.messages if "C by" in line]) == 1


def test_a_clock_that_is_ahead_is_reported_when_it_begins_and_when_it_ends(
    logged: _Logged,
) -> None:
    lags = dict.fromkeys("ABCD", HOUR)
    (line,) = logged.pass_s(10, date_ms=HOUR, **lags)
    assert line.startswith("this machine's clock is 3600.5 s ahead of the time that the feed's")
    lines = logged.pass_s(10, C=0, D=0)
    assert "this machine's clock agrees with the feed's server again" in lines


def test_a_feed_that_is_late_is_reported_when_it_begins_and_when_it_ends(logged: _Logged) -> None:
    (line,) = logged.pass_s(10, **dict.fromkeys("ABCD", 20_000))
    assert line.startswith("trades arrive 20.0 s after they happened; minutes are closed")
    (line,) = logged.pass_s(20, C=0)  # D trades no more
    assert line == "trades arrive in time again"


def test_without_the_servers_time_a_late_feed_may_be_a_clock_that_is_ahead(
    logged: _Logged,
) -> None:
    (line,) = logged.pass_s(10, date_ms=None, **dict.fromkeys("ABCD", 20_000))
    assert "or this machine's clock is ahead by as much" in line


def test_a_server_whose_time_is_wrong_is_reported(logged: _Logged) -> None:
    (line,) = logged.pass_s(10, date_ms=-HOUR)
    assert "contradicts this machine's clock and the trades, which agree: it is not used" in line


def test_a_clock_that_is_weeks_behind_is_reported(logged: _Logged) -> None:
    weeks_ms = 21 * 86_400_000
    lines = logged.pass_s(10, date_ms=-weeks_ms, **dict.fromkeys("ABCD", -weeks_ms))
    assert sum("more than 7 days behind the trades" in line for line in lines) == 1
