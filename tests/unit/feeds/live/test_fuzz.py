"""Whatever comes through the socket: nothing fails, and every trade is accounted for."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import (
    FUTURE_MS,
    Message,
    RejectionRecord,
    Trades,
    conditions_of,
    decode_rejection,
    encode,
)
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing
from app.message_parser import decode
from tests.feed_frames import any_frame, mutated, recorded, trades_in

NOW = 1_731_600_060_000


class _Account:
    """A session whose every frame is checked: in messages + repeated + rejected = delivered."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.session = FeedSession(
            SessionConfig(feed="live", source="src", grace_ms=5_000, allowed_lateness_ms=900_000),
            parse_frame=parse_frame,
            symbols=("AAPL", "TSLA", "BINANCE:BTCUSDT"),
            clock=self.clock,
        )
        self.session.connected("c-1")
        self.confirm_clock()
        self.seen: set[object] = set()
        self.in_messages = 0

    def confirm_clock(self) -> None:
        """The server gives its time, so that trades from the future are judged at once."""
        now_ms = self.clock.now_ms()
        assert self.session.server_date(now_ms, now_ms, now_ms) == []

    def receive(self, raw: bytes) -> None:
        self.confirm_clock()
        repeated = self.session.counts["repeated_trades"]
        made = self.session.frame(raw, "c-1")
        repeated = self.session.counts["repeated_trades"] - repeated
        taken = sum(len(m.trades) for m in made if isinstance(m, Trades))
        delivered = trades_in(raw)
        denied = [m.indices for m in made if isinstance(m, RejectionRecord)]
        rejected = delivered if None in denied else sum(len(at or ()) for at in denied)
        assert delivered is None or taken + repeated + (rejected or 0) == delivered, raw
        self.in_messages += taken
        for message in made:
            self._check(message)

    def pass_s(self) -> None:
        self.clock.move_forward(1_000)
        for message in self.session.each_second():
            self._check(message)

    def _check(self, message: Outgoing) -> None:
        """Candles and archive take each message whole, and no trade for another."""
        if isinstance(message, RejectionRecord):
            assert decode_rejection(encode(message)) == message
            return
        parsed = decode(message.symbol.encode(), encode(message), "live")
        assert not parsed.rejections, message
        read: Message = parsed.message
        if isinstance(read, Trades):
            for t in read.trades:
                assert t.t - read.received_at <= FUTURE_MS
                identity = (read.symbol, t.t, t.p, t.v, conditions_of(t.c), t.k)
                assert identity not in self.seen
                self.seen.add(identity)


def _fuzz(frames: int, seed: int) -> _Account:
    rng, account = Random(seed), _Account()
    for number in range(frames):
        raw = mutated(rng, recorded(rng, account.clock.now_ms()))
        for _ in range(rng.choice((1, 1, 1, 3))):
            account.receive(raw)
        if number % 50 == 0:
            account.pass_s()
    return account


def test_mutated_frames_of_recorded_shapes() -> None:
    account = _fuzz(3_500, seed=1)
    counts = account.session.counts
    assert counts["trades"] == account.in_messages > 1_000
    for kind in ("repeated_trades", "rejected_trades", "rejected_frames", "pings", "error_frames"):
        assert counts[kind] > 20, kind


@pytest.mark.drill
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_mutated_frames(seed: int) -> None:
    assert _fuzz(25_000, seed).in_messages > 1_000


@settings(deadline=None)
@given(st.lists(any_frame(NOW), max_size=12))
def test_frames_of_any_content(frames: list[bytes]) -> None:
    account = _Account()
    for raw in frames:
        account.receive(raw)
        account.pass_s()
