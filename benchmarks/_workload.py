"""The input of the benchmarks: an hour of trades of 50 symbols, and its candles from SQL."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate

from app.contracts import Message, Trade, Trades, Watermark
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.listing import KNOWN_PRICES
from app.feeds.simulator.protocol import trade_frames

BASE = 1_699_974_000_000
"""A Tuesday at 10:00 in New York, in the regular session."""
MINUTE_MS = 60_000
GRACE_MS = 5_000
SYMBOLS = [f"S{number:02d}" for number in range(50)]
TRADES_A_MINUTE = 2_000_000 / 60
REPEATED_SHARE = 0.01
RECENT_MESSAGES = 30
"""A repeated message repeats one of this number of preceding messages, within the grace."""

_PRICES = [Decimal(cents).scaleb(-2) for cents in range(9_900, 10_101)]
_SIZES = [Decimal(size) for size in range(501)]
_ROUND_LOT, _ODD_LOT = ["1"], ["1", "12"]
_ODD_LOT_SHARE = 0.45
_CHOSEN_AT_ONCE = 10_000

Framing = list[int]
"""Numbers of trades per message, of which each message takes one at random."""


def simulator_framing(rate: float = 20_000, seconds: int = 5) -> Framing:
    """Return trades per message as the producer sends them, at `rate` trades per second."""
    symbols = [*KNOWN_PRICES, *SYMBOLS][: len(SYMBOLS)]
    rng = random.Random(7)
    clock = ManualClock(BASE)
    exchange = Exchange(7, rate, BASE)
    session = FeedSession(
        SessionConfig(feed="simulated", source="b", grace_ms=GRACE_MS, allowed_lateness_ms=900_000),
        parse_frame=parse_frame,
        symbols=symbols,
        clock=clock,
    )
    session.connected("c")
    sizes = []
    for _ in range(seconds * 20):
        clock.move_forward(50)
        for frame in trade_frames(exchange.step(clock.now_ms(), symbols), rng):
            made = session.frame(frame)
            sizes += [len(message.trades) for message in made if isinstance(message, Trades)]
    return sizes


class Workload:
    """Messages in the order of the topic. Each iteration generates the same messages.

    Symbols are Zipf-distributed, at an even pace of `received_at`; t is up to 0.4 s earlier, at
    random. 1 % of the messages are repeated soon after. There is a watermark per symbol and minute.
    At the end, each symbol has a last trade two minutes later, and a watermark that finalizes all
    candles.

    :param trades: number of trades, without the repeated and the last ones; 2 million are an hour.
    """

    def __init__(self, trades: int, framing: Framing) -> None:
        self.trades = trades
        self.framing = framing
        minutes = -(-trades // int(TRADES_A_MINUTE))
        self.end = BASE + minutes * MINUTE_MS
        """The end of the last full minute."""
        self.counts: Counter[str] = Counter()
        """Counters of the last iteration: trades, messages and watermarks."""

    def __iter__(self) -> Iterator[Message]:
        self.counts.clear()
        rng = random.Random(42)
        recent: deque[Trades] = deque(maxlen=RECENT_MESSAGES)
        sent, reported = 0, BASE + MINUTE_MS
        symbols, sizes = zipf(rng), _sizes(rng, self.framing)
        while sent < self.trades:
            now = BASE + int(sent * MINUTE_MS / TRADES_A_MINUTE)
            while reported + GRACE_MS <= now:
                yield from self._watermarks(reported + GRACE_MS, reported, reported - MINUTE_MS)
                reported += MINUTE_MS
            if recent and rng.random() < REPEATED_SHARE:
                yield self._counted(rng.choice(recent))
            size = min(next(sizes), self.trades - sent)
            message = _message(rng, next(symbols), now, size, sent)
            recent.append(message)
            yield self._counted(message)
            sent += size
        last = self.end + 2 * MINUTE_MS
        for symbol in SYMBOLS:
            yield self._counted(_message(rng, symbol, last, 1, sent))
        yield from self._watermarks(last + MINUTE_MS + GRACE_MS, last + MINUTE_MS, last - MINUTE_MS)

    def _counted(self, message: Trades) -> Trades:
        self.counts["messages"] += 1
        self.counts["trades"] += len(message.trades)
        return message

    def _watermarks(self, now: int, t: int, minute: int) -> Iterator[Watermark]:
        for symbol in SYMBOLS:
            self.counts["messages"] += 1
            self.counts["watermarks"] += 1
            yield Watermark(symbol, "replay", "b", now, t, minute, MINUTE_MS)


def zipf(rng: random.Random) -> Iterator[str]:
    """Yield `SYMBOLS` at random forever: the second is half as frequent as the first, and so on."""
    weights = list(accumulate(1 / (number + 1) for number in range(len(SYMBOLS))))
    while True:
        yield from rng.choices(SYMBOLS, cum_weights=weights, k=_CHOSEN_AT_ONCE)


def _sizes(rng: random.Random, framing: Framing) -> Iterator[int]:
    while True:
        yield from rng.choices(framing, k=_CHOSEN_AT_ONCE)


def _message(rng: random.Random, symbol: str, now: int, size: int, frame: int) -> Trades:
    uniform = rng.random
    trades = [
        Trade(
            t=now - int(uniform() * 400),
            p=_PRICES[int(uniform() * 201)],
            v=_SIZES[1 + int(uniform() * 500)],
            c=_ODD_LOT if uniform() < _ODD_LOT_SHARE else _ROUND_LOT,
            frame=frame,
            i=place,
        )
        for place in range(size)
    ]
    return Trades(symbol, "replay", "b", "c", now, trades)
