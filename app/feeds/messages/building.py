"""Convert the frames of one connection to messages for Kafka: pure.

There is one message per symbol and frame, with trades in the order received. A frame that the
server repeats is dropped; a trade that is repeated is numbered (`k`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque

from app.contracts import (
    MAX_MESSAGE_BYTES,
    FeedName,
    Trade,
    Trades,
    encode,
)
from app.feeds.messages.repeats import RepeatCounter
from app.feeds.vendor import ParsedTrade, TradesFrame

RING_FRAMES = 64
FULL_FRAME_TRADES = 10
"""The largest number of trades ever recorded in a frame; a long sweep fills several frames."""
_SURELY_SMALL_BYTES = 64 * 1024
"""A frame up to this size leads to no message above 256 KiB: a trade grows by at most 40 bytes."""


class RepeatedFrames:
    """Detects frames that a server repeats, among the last 64 frames of the connection.

    A full frame of equal trades is part of a sweep that fills several frames, so an equal frame is
    not a repeat.
    """

    def __init__(self) -> None:
        self._ring: deque[bytes] = deque()
        self._counts: Counter[bytes] = Counter()

    def is_repeat(self, raw: bytes, frame: TradesFrame) -> bool:
        """Return whether `raw`, parsed as `frame`, repeats an earlier frame; remember the frame."""
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        known = self._counts[digest] > 0
        self._ring.append(digest)
        self._counts[digest] += 1
        if len(self._ring) > RING_FRAMES:
            oldest = self._ring.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        return known and not _is_full_of_equals(frame)


def _is_full_of_equals(frame: TradesFrame) -> bool:
    return (
        frame.size >= FULL_FRAME_TRADES
        and not frame.rejections
        and len({trade.identity for trade in frame.trades}) == 1
    )


class ConnectionMessages:
    """Builds the messages of one connection.

    :param connection: a name that was never used before.
    :param keep_ms: allowed lateness + grace: how long after the end of its minute a trade is
        remembered.
    :param drop_repeats: whether to drop frames that the server repeats.
    :ivar frames: the number of trade frames so far, dropped ones included.
    :ivar repeated: the number of dropped frames.
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

    def is_repeat(self, raw: bytes, frame: TradesFrame) -> bool:
        """Return whether to drop this frame. Call it once per frame, before `messages`."""
        self.frames += 1
        if self._drop_repeats and self._repeated_frames.is_repeat(raw, frame):
            self.repeated += 1
            return True
        return False

    def messages(self, raw: bytes, frame: TradesFrame, received_at: int) -> list[Trades]:
        """Return one message per symbol of `frame`, or several where one would be too large."""
        by_symbol: dict[str, list[Trade]] = {}
        for trade in frame.trades:
            by_symbol.setdefault(trade.symbol, []).append(self._numbered(trade, received_at))
        messages = [self._message(s, trades, received_at) for s, trades in by_symbol.items()]
        if len(raw) <= _SURELY_SMALL_BYTES:
            return messages
        return [part for message in messages for part in small_enough(message)]

    def _numbered(self, trade: ParsedTrade, received_at: int) -> Trade:
        trade.trade.frame = self.frames
        trade.trade.k = self._repeats.k(trade.identity, trade.trade.t, received_at)
        return trade.trade

    def _message(self, symbol: str, trades: list[Trade], received_at: int) -> Trades:
        return Trades(symbol, self._feed, self._source, self._connection, received_at, trades)


def small_enough(message: Trades) -> list[Trades]:
    """Split `message` so that no part is larger than 256 KiB."""
    trades = message.trades
    if len(trades) == 1 or len(encode(message)) <= MAX_MESSAGE_BYTES:
        return [message]
    return [part for half in halves(message) for part in small_enough(half)]


def halves(message: Trades) -> list[Trades]:
    """Split `message` into two, each with half of its trades."""
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
