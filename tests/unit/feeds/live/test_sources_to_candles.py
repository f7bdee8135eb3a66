"""What goes wrong with sources and connections, from their frames to the candles."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import Candle, Message, RejectionRecord
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import newest

M = 1_731_600_060_000
"""The start of a minute: when every test begins, in the market's time."""
MINUTE, GRACE, LATENESS = 60_000, 5_000, 900_000
HOUR = 3_600_000

Print = tuple[int, float, int]
"""Time in ms from M on, price, size."""


class Market:
    """Sources that receive one market, each by a clock of its own, and the topic they send to.

    :param wrong_ms: by how much the clock of each source is wrong.
    """

    def __init__(self, **wrong_ms: int) -> None:
        self.now_ms = 0
        self.wrong_ms = wrong_ms
        self.clocks: dict[str, ManualClock] = {}
        self.sources: dict[str, FeedSession] = {}
        self.topic: list[Message] = []
        for name in wrong_ms:
            self.start(name)

    def start(self, name: str, checkpoint: CoverageCheckpoint | None = None) -> None:
        """A source's process begins; with a checkpoint it first reports what it missed."""
        self.clocks[name] = ManualClock(M + self.now_ms + self.wrong_ms[name])
        source = self.sources[name] = FeedSession(
            SessionConfig(feed="live", source=name, grace_ms=GRACE, allowed_lateness_ms=LATENESS),
            parse_frame=parse_frame,
            symbols=["A"],
            clock=self.clocks[name],
            checkpoint=checkpoint,
        )
        self.send(source.resume())
        self.date(name)
        source.connected(f"{name}-{self.now_ms}")

    def date(self, name: str) -> None:
        """Receive the server's time from its handshake."""
        now_ms = self.clocks[name].now_ms()
        self.send(self.sources[name].server_date(M + self.now_ms, now_ms, now_ms))

    def send(self, outgoing: Iterable[Outgoing]) -> None:
        for message in outgoing:
            assert not isinstance(message, RejectionRecord)
            self.topic.append(message)

    def receive(self, name: str, *prints: Print) -> None:
        """A source receives a frame."""
        data = [{"s": "A", "t": M + t, "p": p, "v": v, "c": ["1"]} for t, p, v in prints]
        self.send(self.sources[name].frame(json.dumps({"data": data, "type": "trade"}).encode()))

    def pass_s(self, seconds: int, dead: str = "") -> None:
        """Time passes; each second three prints happen, and all receive them who are not dead."""
        for _ in range(seconds):
            self.now_ms += 1_000
            price = 10 + self.now_ms % 7
            prints = [(self.now_ms - ms, price + ms / 100, 1 + ms) for ms in (300, 200, 100)]
            for name, source in self.sources.items():
                self.clocks[name].move_forward(1_000)
                if name != dead:
                    self.receive(name, *prints)
                    self.send(source.each_second())

    def candles(self) -> list[Candle]:
        """The last record of each minute; nothing may be rejected, nothing be written twice."""
        backfill = Backfill(Rules("live", "sip", GRACE, LATENESS))
        records = list(backfill.records(self.topic))
        assert not backfill.rejections
        return sorted(newest(records).values(), key=lambda candle: candle.window_start)


def brief(candles: list[Candle]) -> list[tuple[int, int, int | None]]:
    """Minutes from M on, trades, revision."""
    return [((c.window_start - M) // MINUTE, c.trade_count, c.revision) for c in candles]


INTEGER = [(0, 180, 0), (1, 180, 0)]
"""Two minutes of three prints a second, each written once."""


@pytest.mark.parametrize("wrong_ms", [0, HOUR, 30_000, 2_001, -30_000, -HOUR])
def test_a_source_whose_clock_is_wrong_makes_the_candles_of_one_whose_clock_is_right(wrong_ms):
    market = Market(a=wrong_ms)
    market.pass_s(130)
    assert brief(market.candles()) == INTEGER


def test_of_a_source_an_hour_ahead_the_first_single_trade_is_not_late():
    market = Market(a=HOUR)
    market.receive("a", (0, 10.0, 1))
    market.send(market.sources["a"].each_second())
    market.receive("a", (1, 11.0, 1))
    market.pass_s(70)
    (candle, *_) = market.candles()
    assert candle.trade_count == 182


@pytest.mark.parametrize("wrong_ms", [30_000, -30_000, HOUR])
def test_two_sources_whose_clocks_are_apart_count_each_print_once(wrong_ms):
    market = Market(a=0, b=wrong_ms)
    market.pass_s(130)
    candles = market.candles()
    assert brief(candles) == INTEGER
    assert [c.duplicate_count for c in candles] == [180, 180]


def test_a_source_that_dies_holds_the_minutes_up_for_150_s_and_returns():
    market = Market(a=0, b=0)
    market.pass_s(30)
    checkpoint = market.sources["a"].checkpoint()
    market.pass_s(160, dead="a")
    emitted = [c for c in market.candles() if c.revision is not None]
    assert brief(emitted) == [(minute, 180, 0) for minute in range(3)]
    market.pass_s(20, dead="a")
    market.start("a", checkpoint)
    market.pass_s(60)
    candles = market.candles()
    assert brief(candles) == [(minute, 180, 0) for minute in range(4)]
    assert [c.duplicate_count for c in candles] == [90, 0, 0, 90]
    assert [c.covered_ms for c in candles] == [MINUTE] * 4


def test_what_a_lone_source_missed_while_it_was_dead_is_not_covered():
    market = Market(a=0)
    market.pass_s(30)
    checkpoint = market.sources["a"].checkpoint()
    market.pass_s(100, dead="a")
    market.start("a", checkpoint)
    market.pass_s(120)
    candles = market.candles()
    assert brief(candles) == [(0, 90, 0), (2, 150, 0), (3, 180, 0)]
    assert [c.covered_ms for c in candles] == [30_000, 50_000, 60_000]


def test_twins_of_one_millisecond_on_either_side_of_a_reconnect_count_once():
    market = Market(a=0)
    twin = (500, 10.0, 100)
    market.receive("a", twin)
    market.send(market.sources["a"].disconnected())
    market.sources["a"].connected("a-again")
    market.receive("a", twin)
    market.pass_s(70)
    (candle, *_) = market.candles()
    assert (candle.trade_count, candle.duplicate_count) == (181, 1)


def test_twins_in_one_connection_count_twice():
    market = Market(a=0)
    market.receive("a", (500, 10.0, 100), (500, 10.0, 100))
    market.pass_s(70)
    (candle, *_) = market.candles()
    assert (candle.trade_count, candle.duplicate_count) == (182, 0)


prints = st.tuples(st.integers(0, 3), st.sampled_from([10.0, 11.0]), st.sampled_from([1, 2]))
frames = st.lists(st.lists(prints, min_size=1, max_size=9), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(frames, st.lists(st.integers(1, 9), min_size=1))
def test_a_second_connection_that_frames_the_same_prints_differently_adds_nothing(frames, sizes):
    alone, both = Market(a=0), Market(a=0, b=0)
    for number, frame in enumerate(frames):
        marked = [(t, p + 100 * number, v) for t, p, v in frame]  # no frame repeats another
        alone.receive("a", *marked)
        both.receive("a", *marked)
    rest = [(t, p + 100 * n, v) for n, frame in enumerate(frames) for t, p, v in frame]
    while rest:
        size = sizes[len(rest) % len(sizes)]
        both.receive("b", *rest[:size])
        rest = rest[size:]
    for market in (alone, both):
        market.pass_s(70)
    first, second = alone.candles()[0], both.candles()[0]
    count = sum(map(len, frames))
    assert first.trade_count == second.trade_count == count + 180
    assert (first.volume, first.notional) == (second.volume, second.notional)
    assert (first.open, first.close) == (second.open, second.close)
