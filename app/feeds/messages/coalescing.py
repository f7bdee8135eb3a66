"""Coalesce consecutive frames of a symbol into one message while the producer is behind.

Frames are coalesced if one connection received them in the same second, and no other message of the
symbol, in particular no watermark, lies between them. Consumers compute the same result. This
module has no I/O and no clock.
"""

from __future__ import annotations

from app.contracts import RejectionRecord, Trades
from app.feeds.messages.outgoing import Outgoing

MAX_TRADES = 500
"""Far below the largest message, and small enough to be read in batches."""


class Coalescer:
    """Collects the trades of each symbol that may still be coalesced.

    A producer that has caught up takes them at once (`take`). One that is behind leaves them here
    for the rest of the second, and sends what `add` returns.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Trades] = {}
        self._second = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, message: Outgoing) -> list[Outgoing]:
        """Add `message`; return messages that are complete, in order for each symbol."""
        if isinstance(message, RejectionRecord):
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
        """Return and clear all pending messages."""
        if not self._pending:
            return []
        pending: list[Outgoing] = [*self._pending.values()]
        self._pending.clear()
        return pending


def _fit(pending: Trades, message: Trades) -> bool:
    return (
        pending.connection == message.connection
        and len(pending.trades) + len(message.trades) <= MAX_TRADES
    )
