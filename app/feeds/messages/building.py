"""One connection's frames as messages for Kafka: pure.

One message per symbol and frame, the trades in the order in which they came. The same frame sent
again by a server that repeats itself is dropped; the same trade sent again is counted (`k`).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, deque

from app.contracts import (
    MAX_MESSAGE_BYTES,
    FeedName,
    Rejection,
    RejectionRecord,
    Trade,
    Trades,
    encode,
)
from app.feeds.finnhub.frames import Arrived, TradeFrame
from app.feeds.messages.repeats import RepeatCounter

RING_FRAMES = 64
FULL_FRAME_TRADES = 10
"""No frame with more trades was ever recorded; a long sweep fills frame after frame."""
MAX_PAYLOAD_BYTES = 64 * 1024
_SURELY_SMALL_BYTES = 64 * 1024
"""A frame of this size makes no message larger than 256 KiB: a trade grows by 40 bytes at most."""


class RepeatedFrames:
    """The last 64 frames of a connection, and whether the next is one of them.

    A full frame of equal prints is a sweep that fills several frames: what equals it is new.
    """

    def __init__(self) -> None:
        self._ring: deque[bytes] = deque()
        self._held: Counter[bytes] = Counter()

    def is_repeat(self, raw: bytes, frame: TradeFrame) -> bool:
        """Whether `raw`, which is `frame`, is the server repeating itself; notes it."""
        mark = hashlib.blake2b(raw, digest_size=16).digest()
        known = self._held[mark] > 0
        self._ring.append(mark)
        self._held[mark] += 1
        if len(self._ring) > RING_FRAMES:
            oldest = self._ring.popleft()
            self._held[oldest] -= 1
            if not self._held[oldest]:
                del self._held[oldest]
        return known and not _is_full_of_equals(frame)


def _is_full_of_equals(frame: TradeFrame) -> bool:
    return (
        frame.size >= FULL_FRAME_TRADES
        and not frame.refusals
        and len({one.identity for one in frame.arrived}) == 1
    )


class ConnectionMessages:
    """Makes the messages of one connection.

    :param connection: its name, never used before.
    :param keep_ms: horizon + grace: for how long behind its minute a trade is remembered.
    :param drop_repeats: whether frames that the server repeats are dropped.
    :ivar frames: frames of trades so far, dropped ones included.
    :ivar repeated: how many of them were dropped.
    """

    def __init__(
        self,
        feed: FeedName,
        source: str,
        connection: str,
        keep_ms: int,
        drop_repeats: bool = True,
    ) -> None:
        self._feed = feed
        self._source = source
        self._connection = connection
        self._drop_repeats = drop_repeats
        self._repeated_frames = RepeatedFrames()
        self._repeats = RepeatCounter(keep_ms)
        self.frames = 0
        self.repeated = 0

    def is_repeat(self, raw: bytes, frame: TradeFrame) -> bool:
        """Whether this frame is to be dropped; called once for each frame, before `messages`."""
        self.frames += 1
        if self._drop_repeats and self._repeated_frames.is_repeat(raw, frame):
            self.repeated += 1
            return True
        return False

    def messages(self, raw: bytes, frame: TradeFrame, received_at: int) -> list[Trades]:
        """One message for each symbol of `frame`, more where one would be too large."""
        by_symbol: dict[str, list[Trade]] = {}
        for one in frame.arrived:
            by_symbol.setdefault(one.symbol, []).append(self._numbered(one, received_at))
        messages = [self._message(s, trades, received_at) for s, trades in by_symbol.items()]
        if len(raw) <= _SURELY_SMALL_BYTES:
            return messages
        return [part for message in messages for part in small_enough(message)]

    def _numbered(self, one: Arrived, received_at: int) -> Trade:
        one.trade.frame = self.frames
        one.trade.k = self._repeats.k(one.identity, one.trade.t, received_at)
        return one.trade

    def _message(self, symbol: str, trades: list[Trade], received_at: int) -> Trades:
        return Trades(symbol, self._feed, self._source, self._connection, received_at, trades)


def small_enough(message: Trades) -> list[Trades]:
    """`message`, or what it has to be split into so that none is larger than 256 KiB."""
    trades = message.trades
    if len(trades) == 1 or len(encode(message)) <= MAX_MESSAGE_BYTES:
        return [message]
    return [part for half in halves(message) for part in small_enough(half)]


def halves(message: Trades) -> list[Trades]:
    """`message` as two, of half of its trades each."""
    middle = len(message.trades) // 2
    return [
        Trades(
            message.symbol,
            message.feed,
            message.source,
            message.connection,
            message.received_at,
            part,
        )
        for part in (message.trades[:middle], message.trades[middle:])
    ]


def rejections(raw: bytes, refusals: list[Rejection], feed: FeedName) -> list[RejectionRecord]:
    """One record per reason of what was refused at the feed; the first carries the bytes."""
    if not refusals:
        return []
    payload = base64.b64encode(raw[:MAX_PAYLOAD_BYTES]).decode()
    digest = hashlib.sha256(raw).hexdigest()
    return [
        RejectionRecord(
            stage="feed",
            reason=refusal.reason,
            detail=refusal.detail,
            feed=feed,
            topic=None,
            partition=None,
            offset=None,
            indices=None if refusal.indices is None else list(refusal.indices),
            size=len(raw),
            sha256=digest,
            payload=None if number else payload,
        )
        for number, refusal in enumerate(refusals)
    ]
