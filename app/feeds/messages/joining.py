"""Consecutive frames of a symbol as one message, for a producer that has fallen behind: pure.

Frames are joined when one connection received them in the same second and nothing else of the
symbol lies between them, above all no watermark: what consumers make of them is the same.
"""

from __future__ import annotations

from app.contracts import Rejected, Trades
from app.feeds.messages.outgoing import Outgoing

MOST_TRADES = 500
"""Well within the largest message, and small enough to be read with others."""


class Joiner:
    """Holds the trades of each symbol that may still be joined.

    Whoever has caught up takes them at once (`take`); whoever has not leaves them here while the
    second lasts, and sends what `add` gives back.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Trades] = {}
        self._second = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, message: Outgoing) -> list[Outgoing]:
        """What nothing can be joined to any more, in the order of each symbol."""
        if isinstance(message, Rejected):
            return [message]
        if not isinstance(message, Trades):
            pending = self._pending.pop(message.symbol, None)
            return [message] if pending is None else [pending, message]
        done: list[Outgoing] = []
        if message.received_at // 1000 != self._second:
            done = self.take()
            self._second = message.received_at // 1000
        pending = self._pending.get(message.symbol)
        if pending is None:
            self._pending[message.symbol] = message
        elif _fit(pending, message):
            pending.trades += message.trades
            pending.received_at = message.received_at
        else:
            done.append(pending)
            del self._pending[message.symbol]
            self._pending[message.symbol] = message
        return done

    def take(self) -> list[Outgoing]:
        """All that is pending."""
        if not self._pending:
            return []
        pending: list[Outgoing] = [*self._pending.values()]
        self._pending.clear()
        return pending


def _fit(pending: Trades, message: Trades) -> bool:
    return (
        pending.connection == message.connection
        and len(pending.trades) + len(message.trades) <= MOST_TRADES
    )
