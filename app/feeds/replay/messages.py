"""Convert the trades of a file to messages: pure, and the same for Kafka and for backfill.

A file has no receive times. Therefore each symbol's own trades are its clock: `received_at` is the
symbol's largest t so far, and its watermark is that time minus the grace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.contracts import FeedName, Message, Trade, Trades, Watermark, conditions_of
from app.feeds.messages.repeats import RepeatCounter
from app.feeds.replay.trade_file import FileTrade
from app.market.sessions import END_MS, FIRST_MS

SOURCE = CONNECTION = "replay"
TRADES_A_MESSAGE = 10
"""The largest number of trades ever recorded in one of Finnhub's frames."""
_MINUTE_MS = 60_000


def messages(
    trades: Iterable[FileTrade], feed: FeedName, grace_ms: int, allowed_lateness_ms: int
) -> Iterator[Message]:
    """Yield the messages that a source receiving these `trades` in order would have sent.

    Consecutive trades of a symbol whose receive times lie in the same second share a message. The
    symbol's watermark follows each such second. After the last trade of the file, a watermark ends
    each symbol's last minute. No message is held back longer than until another symbol reaches a
    new second.
    """
    builders: dict[str, _MessageBuilder] = {}
    running: dict[str, _MessageBuilder] = {}
    newest_s = frame = 0
    for trade in trades:
        symbol, t = trade.symbol, trade.t
        builder = builders.get(symbol)
        if builder is None:
            builder = builders[symbol] = _MessageBuilder(
                symbol, feed, grace_ms, allowed_lateness_ms
            )
        if t > builder.largest_t:
            if t // 1000 > newest_s:
                newest_s = t // 1000
                for other in running.values():
                    yield from other.end_second()
                running.clear()
            elif symbol in running and t // 1000 > builder.largest_t // 1000:
                yield from running.pop(symbol).end_second()
            builder.largest_t = t
        if not builder.trades:
            frame += 1
            running[symbol] = builder
        builder.add(trade, frame)
        if len(builder.trades) == TRADES_A_MESSAGE:
            yield builder.message()
    for builder in running.values():
        yield from builder.end_second()
    for builder in builders.values():
        yield builder.end()


class _MessageBuilder:
    """Collects one symbol's trades into messages."""

    __slots__ = ("_feed", "_grace_ms", "_repeats", "_symbol", "frame", "largest_t", "trades")

    def __init__(
        self, symbol: str, feed: FeedName, grace_ms: int, allowed_lateness_ms: int
    ) -> None:
        self._symbol = symbol
        self._feed = feed
        self._grace_ms = grace_ms
        self._repeats = RepeatCounter(allowed_lateness_ms + grace_ms)
        self.largest_t = 0
        self.frame = 0
        self.trades: list[Trade] = []

    def add(self, trade: FileTrade, frame: int) -> None:
        """Append `trade` to the message. The first trade determines the frame."""
        if not self.trades:
            self.frame = frame
        _, t, p, v, c = trade
        k = self._repeats.k((t, p, v, conditions_of(c)), t, self.largest_t)
        self.trades.append(Trade(t, p, v, c, self.frame, len(self.trades), k))

    def message(self) -> Trades:
        """Return the message with the trades so far."""
        trades, self.trades = self.trades, []
        return Trades(self._symbol, self._feed, SOURCE, CONNECTION, self.largest_t, trades)

    def end_second(self) -> Iterator[Message]:
        """Yield the remaining trades of the second, and its watermark."""
        if self.trades:
            yield self.message()
        yield self._watermark(self.largest_t - self._grace_ms, self.largest_t)

    def end(self) -> Watermark:
        """Return a watermark at the end of the symbol's last minute, sent after the grace."""
        minute_end = (self.largest_t // _MINUTE_MS + 1) * _MINUTE_MS
        return self._watermark(minute_end, minute_end + self._grace_ms)

    def _watermark(self, t: int, received_at: int) -> Watermark:
        return Watermark(
            self._symbol,
            self._feed,
            SOURCE,
            received_at=min(received_at, END_MS - 1),
            t=min(max(t, FIRST_MS), END_MS - 1),
        )
