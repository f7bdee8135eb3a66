"""Reject trades of unsubscribed symbols, whose candles no watermark would finalize."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from app.contracts import MAX_DETAIL, Rejection
from app.feeds.vendor import ParsedTrade, TradesFrame

MAX_NAMED = 1_000
"""How many symbols that were never subscribed are named in the log."""

log = logging.getLogger(__name__)


class UnsubscribedFilter:
    """Removes from frames the trades that no watermark would finalize.

    :param symbols: the subscribed symbols.
    :param end_ms: `Watermarks.end_ms`: until when trades of a removed symbol are accepted.
    :ivar symbols: the subscribed symbols; assign it when symbols are added or removed.
    """

    def __init__(self, symbols: Iterable[str], end_ms: Callable[[str], float]) -> None:
        self.symbols = frozenset(symbols)
        self._end_ms = end_ms
        self._named: set[str] = set()

    def apply(self, frame: TradesFrame) -> TradesFrame:
        """Return `frame` with the trades of unsubscribed symbols rejected."""
        symbols = {trade.symbol for trade in frame.trades}
        if symbols <= self.symbols:
            return frame
        ends_ms = {symbol: self._end_ms(symbol) for symbol in symbols}
        kept: list[ParsedTrade] = []
        indices: dict[str, list[int]] = {}
        for trade in frame.trades:
            if trade.trade.t < ends_ms[trade.symbol]:
                kept.append(trade)
            else:
                indices.setdefault(trade.symbol, []).append(trade.trade.i)
        if not indices:
            return frame
        self._warn(indices)
        rejection = Rejection(
            "unsubscribed",
            f"not subscribed, or no longer: {', '.join(indices)}"[:MAX_DETAIL],
            tuple(sorted(index for some in indices.values() for index in some)),
        )
        return TradesFrame(kept, [*frame.rejections, rejection], frame.size)

    def _warn(self, symbols: Iterable[str]) -> None:
        """Warn about each unsubscribed symbol once, up to a limit."""
        for symbol in symbols:
            if symbol not in self._named and len(self._named) < MAX_NAMED:
                self._named.add(symbol)
                log.warning(
                    "trades of %s, which is not subscribed, are rejected (trades-rejected, reason "
                    "unsubscribed); add it to the symbols if they are wanted",
                    symbol,
                )
