"""Trades received as repeated frames or through two connections equal the published bars."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app.contracts import Candle, Message, Trade, Trades
from app.feeds.finnhub.frames import parse_frame
from app.feeds.messages.building import FULL_FRAME_TRADES, ConnectionMessages
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.feeds.vendor import TradesFrame
from app.market.sessions import END_MS
from tests.published import (
    Bar,
    bar,
    gold_bars,
    matches,
    pre_market_bars,
    regular_bars,
    volume_matches,
)
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import newest

RULES = Rules("replay", "all")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class DelayedConnection:
    """One connection to the feed: numbers its trades and drops the frames that are repeated."""

    def __init__(self, name: str) -> None:
        keep_ms = RULES.allowed_lateness_ms + RULES.grace_ms
        self._messages = ConnectionMessages("replay", name, name, keep_ms)

    def hear(self, symbol: str, prints: list[Trade], received_at: int) -> list[Trades]:
        data = [{"s": symbol, "t": x.t, "p": x.p, "v": x.v, "c": x.c} for x in prints]
        raw = _encode({"data": data, "type": "trade"})
        frame = parse_frame(raw)
        assert isinstance(frame, TradesFrame)
        if self._messages.is_repeat(raw, frame):
            return []
        return self._messages.messages(raw, frame, received_at)


def messages_thrice(sent: list[Message], rng: random.Random) -> Iterator[Message]:
    """A producer, or an archive, that sends every message three times."""
    for message in sent:
        yield from (message, message, message)


def frames_thrice(sent: list[Message], rng: random.Random) -> Iterator[Message]:
    """A server that sends every frame three times."""
    line = DelayedConnection("a")
    for message in sent:
        if isinstance(message, Trades):
            for _ in range(3):
                yield from line.hear(message.symbol, message.trades, message.received_at)
        else:
            yield message


def through_two_connections(sent: list[Message], rng: random.Random) -> Iterator[Message]:
    """The second connection receives the same prints up to a minute later, in other frames."""
    first, second = DelayedConnection("a"), DelayedConnection("b")
    waiting: dict[str, list[Trade]] = {}
    for message in sent:
        prints = waiting.setdefault(message.symbol, [])
        if prints and prints[0].t < message.received_at - 60_000:
            yield from framed_by(second, message.symbol, prints, rng)
        if not isinstance(message, Trades):
            yield message
            continue
        yield from first.hear(message.symbol, message.trades, message.received_at)
        prints += message.trades
        if rng.random() < 0.3:
            yield from framed_by(second, message.symbol, prints, rng)
    for symbol, prints in waiting.items():
        yield from framed_by(second, symbol, prints, rng)


def framed_by(
    line: DelayedConnection, symbol: str, prints: list[Trade], rng: random.Random
) -> Iterator[Trades]:
    """`prints`, which are taken, in frames of any size."""
    while prints:
        size = rng.randint(1, 30)
        part, prints[:] = prints[:size], prints[size:]
        yield from line.hear(symbol, part, max(x.t for x in part))


def received(arrival, path: Path, until: int) -> tuple[dict[tuple[str, int], Bar], list[Candle]]:
    """The bars of a trade file up to `until`, received as `arrival` defines, and their candles."""
    trades = (trade for trade in read_trades(path) if trade.t < until)
    sent = list(messages(trades, "replay", RULES.grace_ms, RULES.allowed_lateness_ms))
    backfill = Backfill(RULES)
    candles = list(newest(backfill.records(arrival(sent, random.Random(7)))).values())
    assert not backfill.rejections
    bars = {
        (c.symbol, c.window_start): bar(c.open, c.high, c.low, c.close, c.volume) for c in candles
    }
    return bars, candles


@pytest.mark.parametrize("arrival", [messages_thrice, through_two_connections])
def test_gold_received_more_than_once_equals_all_complete_published_bars(gold_data, arrival):
    bars, candles = received(arrival, gold_data / "gold_futures_trades.parquet", END_MS)
    assert matches(gold_bars(gold_data), bars) == 1490
    assert sum(c.trade_count + c.zero_volume_count for c in candles) == 40_192
    assert sum(c.duplicate_count for c in candles) > 35_000


def test_a_server_that_sends_every_frame_thrice_costs_only_full_frames_of_equal_prints(gold_data):
    bars, candles = received(frames_thrice, gold_data / "gold_futures_trades.parquet", END_MS)
    published = gold_bars(gold_data)
    wrong = {key for key, expected in published.items() if bars[key] != expected}
    assert len(wrong) == 6
    for key in wrong:
        too_much = bars[key][4] - published[key][4]
        assert too_much > 0
        assert too_much % (2 * FULL_FRAME_TRADES) == 0
        assert bars[key][:4] == published[key][:4]
    assert sum(c.duplicate_count for c in candles) == 0


def test_us_equities_received_through_two_connections_equal_the_published_bars(test_data):
    until = 1_381_242_600_000  # 2013-10-08, 10:30 in New York
    path = test_data / "us_equities_trades.parquet"
    bars, candles = received(through_two_connections, path, until)
    regular = {key: bar for key, bar in regular_bars(test_data).items() if key[1] < until}
    assert len(regular) == 236
    assert matches(pre_market_bars(test_data), bars) == 293
    assert volume_matches(regular, bars) == 235  # the publisher's one exception of the day
    assert sum(c.duplicate_count for c in candles) > 100_000
