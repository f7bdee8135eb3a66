"""Whether connections still bring trades: patience, markets that stall alone, what was received."""

from __future__ import annotations

from random import Random

import pytest

from app.feeds.live.staleness import ActivityTracker, market_open

T = 1_731_600_060_000
STOCKS, CRYPTO = ("AAPL", "MSFT"), ("BINANCE:BTCUSDT",)
ALL = (*STOCKS, *CRYPTO)


class _Connection:
    """Symbols on one connection that opened at 0; times are seconds."""

    def __init__(self, symbols: tuple[str, ...] = STOCKS, opens_s: int = -9_999) -> None:
        self.activity = ActivityTracker(lambda symbol, at_ms: at_ms >= T + opens_s * 1000)
        self.since_ms = dict.fromkeys(symbols, T)

    def trades(self, symbols: tuple[str, ...], *seconds: float) -> None:
        for second in seconds:
            self.activity.traded(symbols, T + round(second * 1000))

    def stalled(self, second: float) -> list[tuple[tuple[str, ...], int]]:
        found = self.activity.stalls(self.since_ms, T + round(second * 1000))
        return [(stall.symbols, stall.silent_ms // 1000) for stall in found]

    def received_until(self, second: float, stalled: tuple[str, ...] = ()) -> dict[str, float]:
        ends = self.activity.covered_until(self.since_ms, T + round(second * 1000), stalled)
        return {s: (at - T) / 1000 for at, symbols in ends.items() for s in symbols}


def test_an_open_market_that_is_silent_for_90_s_has_stalled() -> None:
    connection = _Connection()
    connection.trades(STOCKS, *range(100))
    assert connection.stalled(189) == []
    assert connection.stalled(190) == [(STOCKS, 91)]


def test_a_connection_that_brings_nothing_from_its_beginning_has_stalled_too() -> None:
    connection = _Connection()
    assert connection.stalled(90) == []
    assert connection.stalled(91) == [(STOCKS, 91)]


def test_a_closed_market_never_stalls_and_one_that_opens_gets_its_time() -> None:
    connection = _Connection(opens_s=1_000)
    connection.trades(STOCKS, *range(100))
    assert connection.stalled(999) == connection.stalled(1_089) == []
    assert connection.stalled(1_090) == [(STOCKS, 991)]


def test_symbols_that_seldom_trade_are_waited_for_longer() -> None:
    connection = _Connection(("AAPL",))
    connection.trades(("AAPL",), *range(0, 600, 60))
    assert connection.stalled(540 + 20 * 60) == []
    assert connection.stalled(541 + 20 * 60) == [(("AAPL",), 1201)]


def test_one_market_may_stall_while_another_goes_on() -> None:
    connection = _Connection(ALL)
    connection.trades(ALL, *range(100))
    connection.trades(CRYPTO, *range(100, 300))
    assert connection.stalled(200) == [(STOCKS, 101)]
    assert connection.received_until(200, STOCKS) == {
        "AAPL": 99.0,
        "MSFT": 99.0,
        "BINANCE:BTCUSDT": 200.0,
    }


def test_patience_doubles_with_replacements_that_bring_nothing_and_a_trade_ends_that() -> None:
    connection = _Connection()
    waits_s = []
    for _ in range(5):
        wait_s = next(s for s in range(2_000) if connection.stalled(s))
        waits_s.append(wait_s)
        connection.activity.replaced(
            connection.activity.stalls(connection.since_ms, T + wait_s * 1000)
        )
    assert waits_s == [91, 181, 361, 721, 721]
    connection.trades(STOCKS, 0)
    assert connection.stalled(91) == [(STOCKS, 91)]


def test_what_ended_in_good_health_was_received_to_its_end() -> None:
    connection = _Connection()
    connection.trades(STOCKS, *range(100))
    assert set(connection.received_until(108).values()) == {108.0}


def test_what_ended_in_a_silence_beyond_chance_was_received_to_its_last_trade() -> None:
    connection = _Connection(ALL)
    connection.trades(STOCKS, *range(100))
    connection.trades(CRYPTO, *[n + 0.4 for n in range(100)])
    assert set(connection.received_until(150).values()) == {99.4}


def test_a_market_that_is_subscribed_during_a_silence_does_not_end_it() -> None:
    connection = _Connection()
    connection.trades(STOCKS, *range(100))
    connection.since_ms |= dict.fromkeys(CRYPTO, T + 105_000)
    received_until = connection.received_until(150)
    assert [received_until[symbol] for symbol in STOCKS] == [99.0, 99.0]
    assert received_until[CRYPTO[0]] <= 105.0, "it was never received"


def test_all_markets_that_are_silent_together_end_together_however_seldom_one_trades() -> None:
    connection = _Connection(ALL)
    connection.trades(CRYPTO, *range(0, 100, 20))
    connection.trades(STOCKS, *range(100))
    assert set(connection.received_until(125).values()) == {99.0}
    assert set(connection.received_until(108).values()) == {108.0}


def test_a_market_that_is_closed_is_received_though_the_open_ones_are_silent() -> None:
    connection = _Connection(ALL)
    connection.activity = ActivityTracker(lambda symbol, at_ms: ":" in symbol)
    connection.trades(ALL, *range(100))
    received_until = connection.received_until(150)
    assert received_until == {"AAPL": 150.0, "MSFT": 150.0, "BINANCE:BTCUSDT": 99.0}


def test_the_night_reports_nothing_of_how_often_a_symbol_trades() -> None:
    connection = _Connection(("AAPL",))
    connection.trades(("AAPL",), *range(100))
    connection.activity.subscribed(("AAPL",))
    connection.trades(("AAPL",), *range(60_000, 60_010))
    connection.since_ms["AAPL"] = T
    assert connection.stalled(60_009 + 91) == [(("AAPL",), 91)]


def test_a_clock_that_was_moved_is_no_silence() -> None:
    connection = _Connection()
    connection.trades(STOCKS, *range(100))
    connection.activity.moved_forward(300_000)
    connection.since_ms = dict.fromkeys(STOCKS, T + 300_000)
    assert connection.stalled(99 + 300 + 90) == []


@pytest.mark.parametrize("seed", range(5))
def test_chance_alone_makes_no_stall_once_a_symbol_is_known(seed: int) -> None:
    rng, second = Random(seed), 0.0
    connection = _Connection(("AAPL",))
    for number in range(2_000):
        second += rng.expovariate(1 / 60)
        assert number < 10 or connection.stalled(second) == []
        connection.trades(("AAPL",), second)


def test_a_symbol_that_falls_silent_is_named_once() -> None:
    connection = _Connection()
    connection.trades(STOCKS, *range(100))
    connection.trades(("MSFT",), *range(100, 300))
    stale = [connection.activity.newly_stale(ALL, T + s * 1000) for s in (150, 200, 201)]
    assert stale == [[], [("AAPL", 101_000)], []]
    connection.trades(("AAPL",), 205)
    assert connection.activity.newly_stale(ALL, T + 206_000) == []
    assert [s for s, _ in connection.activity.newly_stale(ALL, T + 380_000)] == ["AAPL"]


def test_when_markets_are_open() -> None:
    thursday, saturday, before = T, T + 2 * 86_400_000, T - 3 * 3_600_000
    live, simulated = market_open("live"), market_open("simulated")
    assert [live("AAPL", at) for at in (thursday, saturday, before)] == [True, False, False]
    assert [live("BINANCE:BTCUSDT", at) for at in (thursday, saturday)] == [True, True]
    assert simulated("AAPL", saturday)
