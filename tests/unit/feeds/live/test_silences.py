"""Silences of an open connection that end by themselves: what was lost in them, minute by minute.

A source's side of the feed is driven by trades and seconds; times are seconds from a full minute.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.contracts import Watermark
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing

M = 1_731_600_060_000
STOCKS, CRYPTO = ("AAPL", "MSFT", "NVDA", "TSLA"), ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT")
ALL = (*STOCKS, *CRYPTO)
PING = b'{"type":"ping"}'
END_S = 400


class _Feed:
    """Connections of an open market; each symbol of `symbols` is on the connection c-1."""

    def __init__(
        self,
        symbols: tuple[str, ...] = ALL,
        connections: dict[str, tuple[str, ...]] | None = None,
        is_open: Callable[[str, int], bool] = lambda symbol, at_ms: True,
    ) -> None:
        self.clock = ManualClock(M)
        self.session = FeedSession(
            SessionConfig(
                feed="simulated", source="src", grace_ms=5_000, allowed_lateness_ms=900_000
            ),
            parse_frame=parse_frame,
            symbols=symbols,
            clock=self.clock,
            is_open=is_open,
        )
        self.connections = connections or {"c-1": symbols}
        self.made: list[Outgoing] = []
        for name, some in self.connections.items():
            self.session.connected(name, some)

    def trade(self, symbols: Iterable[str], *times_s: float, connection: str = "c-1") -> None:
        """A frame, received now, of a trade of each symbol at each time (now, if none is given)."""
        now_s = (self.clock.now_ms() - M) / 1000
        data = [
            {"s": symbol, "p": 1, "v": 1, "t": M + round(t * 1000)}
            for t in times_s or (now_s,)
            for symbol in symbols
        ]
        frame = json.dumps({"data": data, "type": "trade"}).encode()
        self.made += self.session.frame(frame, connection)

    def go_on(self, until_s: float, *silent: str) -> None:
        """Seconds pass, in each all symbols trade on their connections, but those in `silent`."""
        while self.clock.now_ms() < M + until_s * 1000:
            self.clock.move_forward(1_000)
            for name, some in self.connections.items():
                trading = [symbol for symbol in some if symbol not in silent]
                self.trade(trading, connection=name) if trading else self.ping(name)
            self.made += self.session.each_second()

    def ping(self, connection: str = "c-1") -> None:
        self.made += self.session.frame(PING, connection)

    def stalled(self, *spans_s: tuple[float, float], silent: tuple[str, ...] = ALL) -> None:
        for start_s, end_s in spans_s:
            self.go_on(start_s)
            self.go_on(end_s, *silent)
        self.go_on(END_S)

    def covered(self, symbol: str = "AAPL", last: int = 4) -> list[int]:
        """What was emitted last of the first minutes, in seconds of each."""
        emitted: dict[int, int] = {}
        for item in self.made:
            if isinstance(item, Watermark) and item.symbol == symbol and item.minute_start:
                emitted[(item.minute_start - M) // 60_000] = (item.covered_ms or 0) // 1000
        return [emitted[minute] for minute in range(last)]

    def tellings(self, symbol: str = "AAPL") -> dict[int, list[int]]:
        """What was emitted of each minute after its end, in order."""
        emitted: dict[int, list[int]] = defaultdict(list)
        for item in self.made:
            if not isinstance(item, Watermark) or item.symbol != symbol or not item.minute_start:
                continue
            if item.received_at >= item.minute_start + 65_000:
                emitted[(item.minute_start - M) // 60_000].append((item.covered_ms or 0) // 1000)
        return emitted


@pytest.mark.parametrize("length_s", [12, 25, 40, 80])
def test_a_stall_that_ends_by_itself_was_not_received(length_s: int) -> None:
    feed = _Feed()
    feed.stalled((100, 100 + length_s))
    received = [60, 60 - min(length_s, 20), 60 - max(0, length_s - 20), 60]
    # trades come on the full second: the first one after the silence ends it a second later
    assert sum(received) - 1 == sum(feed.covered())
    assert all(abs(got - should) <= 1 for got, should in zip(feed.covered(), received, strict=True))


def test_a_minute_that_was_reported_meanwhile_is_corrected_once() -> None:
    feed = _Feed()
    feed.stalled((100, 170))
    assert feed.tellings()[1] == [60, 40]
    assert feed.tellings()[2] == [9]
    assert feed.tellings()[0] == [60]


def test_every_symbol_of_the_connection_is_reported_so_even_one_that_seldom_trades() -> None:
    feed = _Feed()
    feed.connections = {"c-1": STOCKS}
    for end_s in range(30, 300, 30):
        feed.go_on(end_s)
        feed.trade(CRYPTO)
    feed.go_on(315, *ALL)
    feed.go_on(END_S)
    assert feed.covered("AAPL", 6) == feed.covered("BINANCE:BTCUSDT", 6) == [60, 60, 60, 60, 30, 44]


def test_a_market_that_stalls_alone_is_not_received_since_its_own_last_trade() -> None:
    feed = _Feed()
    feed.stalled((100, 130), silent=CRYPTO)
    assert feed.covered("AAPL") == [60] * 4
    assert feed.covered("BINANCE:BTCUSDT") == [60, 40, 49, 60]


def test_only_the_connection_that_stalled_is_judged() -> None:
    feed = _Feed(connections={"c-1": STOCKS[:2], "c-2": STOCKS[2:]})
    feed.stalled((100, 145), silent=STOCKS[:2])
    assert feed.covered("AAPL") == feed.covered("MSFT") == [60, 40, 34, 60]
    assert feed.covered("NVDA") == feed.covered("TSLA") == [60] * 4


def test_a_short_silence_is_chance() -> None:
    feed = _Feed()
    feed.stalled((100, 109), (200, 209))
    assert feed.covered() == [60] * 4


def test_symbols_that_seldom_trade_are_silent_by_chance() -> None:
    feed = _Feed(("AAPL",))
    feed.connections = {"c-1": ()}
    for end_s in (20, 35, 60, 80, 130, 140, 190, 270, 300, 330):
        feed.go_on(end_s)
        feed.trade(["AAPL"])
    feed.go_on(END_S)
    assert feed.covered() == [60] * 4


def test_a_closed_market_is_silent_without_loss() -> None:
    feed = _Feed(is_open=lambda symbol, at_ms: not M + 110_000 < at_ms < M + 150_000)
    feed.stalled((100, 155))
    assert feed.covered() == [60] * 4


def test_one_symbol_alone_may_rest() -> None:
    """It may be halted: trades of the others show that the connection is sound."""
    feed = _Feed()
    feed.stalled((100, 190), silent=("AAPL",))
    assert feed.covered() == [60] * 4


def test_trades_that_were_only_delivered_late_are_not_lost() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(140, *ALL)
    for second in range(101, 141):
        feed.trade(ALL, second)
    feed.go_on(END_S)
    assert feed.covered() == [60] * 4
    assert feed.tellings()[1] == [60]


def test_they_may_come_in_one_frame() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(140, *ALL)
    feed.trade(ALL, *range(101, 141))
    feed.go_on(END_S)
    assert feed.covered() == [60] * 4


def test_a_feed_that_is_late_ever_after_has_lost_nothing() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(140, *ALL)
    for second in range(101, 300):
        feed.clock.move_forward(1_000)
        feed.trade(ALL, second)
        feed.made += feed.session.each_second()
    assert feed.covered() == [60] * 4


def test_of_what_was_kept_in_part_the_rest_is_lost() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(160, *ALL)
    feed.trade(ALL, *range(145, 161))
    feed.go_on(END_S)
    minutes = feed.covered()
    assert minutes[1:2] == [40]
    assert 60 - 25 - 5 <= minutes[2] <= 60 - 25, "from 2:25 on; a few seconds prove nothing"


def test_a_trade_that_is_reported_late_does_not_fill_a_silence() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(140, *ALL)
    feed.trade(["AAPL"] * 7, 105)
    feed.trade(["MSFT"], 106)
    feed.go_on(END_S)
    assert feed.covered() == [60, 40, 40, 60]


def test_a_delayed_feed_is_judged_by_its_typical_delay() -> None:
    feed = _Feed()

    def go_on(until_s: int) -> None:
        while feed.clock.now_ms() < M + until_s * 1000:
            feed.clock.move_forward(1_000)
            feed.trade(ALL, (feed.clock.now_ms() - M) / 1000 - 20)
            feed.made += feed.session.each_second()

    go_on(100)
    feed.go_on(140, *ALL)
    go_on(END_S)
    assert feed.covered() == [60, 40, 39, 60]


def test_a_clock_that_is_moved_behind_the_silence_changes_nothing() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(115, *ALL)
    feed.clock.move_forward(1_000)
    now_ms = feed.clock.now_ms()
    feed.made += feed.session.server_date(M + 146_000, now_ms, now_ms)
    feed.trade(ALL * 20, 146)  # the machine's clock is behind by 30 s
    assert feed.clock.now_ms() == M + 146_000
    feed.go_on(END_S)
    assert feed.covered() == [60, 40, 34, 60], "nothing was received in what it was moved over"


def test_a_connection_that_ends_before_it_is_known_is_judged_by_what_came() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(115, *ALL)
    feed.clock.move_forward(1_000)
    feed.trade(ALL)
    feed.made += feed.session.disconnected("c-1")
    feed.session.connected("c-1")
    feed.go_on(END_S)
    assert feed.covered() == [60, 44, 60, 60]


def test_a_stall_behind_a_stall_is_judged_for_itself() -> None:
    feed = _Feed()
    feed.stalled((60, 75), (100, 115), (130, 145))
    assert feed.covered() == [60, 60 - 32, 60 - 16, 60]


def test_a_symbol_that_is_removed_meanwhile_is_no_trouble() -> None:
    feed = _Feed()
    feed.go_on(100)
    feed.go_on(115, *ALL)
    feed.clock.move_forward(1_000)
    feed.trade(ALL)
    feed.session.remove(["MSFT"])
    feed.go_on(END_S, "MSFT")
    assert feed.covered() == [60, 44, 60, 60]


def test_a_connection_that_comes_and_goes_corrects_nothing_that_is_true() -> None:
    feed = _Feed()
    feed.go_on(66)
    for _ in range(200):
        feed.clock.move_forward(50)
        feed.made += feed.session.disconnected("c-1")
        feed.session.connected("c-1")
    feed.go_on(140)
    assert feed.tellings()[0] == [60]
    assert len(feed.tellings()[1]) == 1


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    spans=st.lists(st.tuples(st.integers(15, 60), st.integers(2, 85)), min_size=1, max_size=5),
    gap_s=st.sampled_from([0.1, 0.2, 0.3]),
)
@example(seed=18240527, spans=[(37, 11), (16, 19), (15, 2)], gap_s=0.2)
def test_no_more_is_covered_than_was_received_and_no_less_but_at_the_edges(
    seed: int, spans: list[tuple[int, int]], gap_s: float
) -> None:
    """Silences of all lengths; those that may be chance may be emitted as covered."""
    rng, feed, end_s = Random(seed), _Feed(), 0.0
    received: set[int] = set()
    unsure: set[int] = set()
    for calm_s, silent_s in spans:
        _live(feed, rng, end_s + calm_s, gap_s)
        received |= _tenths(end_s, end_s + calm_s)
        end_s += calm_s
        _live(feed, rng, end_s + silent_s, None)
        if silent_s <= 11:
            unsure |= _tenths(end_s, end_s + silent_s)
        end_s += silent_s
    end_s += 80
    received |= _tenths(end_s - 80, end_s)
    _live(feed, rng, end_s, gap_s)
    minutes = int(end_s // 60) - 1
    edges_s = 2 * len(spans) * (gap_s * 4 / len(ALL) + 1)
    for symbol in ALL:
        for minute, got in enumerate(feed.covered(symbol, minutes)):
            least = sum(tenth // 600 == minute for tenth in received) / 10
            most = least + sum(tenth // 600 == minute for tenth in unsure) / 10
            assert least - edges_s <= got <= most + edges_s


def _tenths(start_s: float, end_s: float) -> set[int]:
    return set(range(round(start_s * 10), round(end_s * 10)))


def _live(feed: _Feed, rng: Random, until_s: float, gap_s: float | None) -> None:
    """Trades come by chance, `gap_s` apart, or none at all."""
    until_ms = M + round(until_s * 1000)
    while (now_ms := feed.clock.now_ms()) < until_ms:
        to_second_ms = 1_000 - now_ms % 1_000
        wait_ms = 1 + round(rng.expovariate(1 / gap_s) * 1_000) if gap_s else to_second_ms
        step_ms = min(wait_ms, to_second_ms, until_ms - now_ms)
        feed.clock.move_forward(step_ms)
        if gap_s and step_ms == wait_ms:
            feed.trade([rng.choice(ALL)])
        if step_ms == to_second_ms:
            feed.made += feed.session.each_second()
