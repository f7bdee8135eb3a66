"""Consecutive frames of a symbol as one message, for a producer that has fallen behind: pure.

Frames are joined when one connection received them in the same second and nothing else of the
symbol lies between them, above all no watermark: what consumers make of them is the same.
"""

from __future__ import annotations

from app.contracts import Message, RejectionRecord, Trades

MOST_TRADES = 500
"""Well within the largest message, and small enough to be read with others."""

Outgoing = Message | RejectionRecord


class Joiner:
    """Holds the trades of each symbol that may still be joined.

    Whoever has caught up takes them at once (`take`); whoever has not leaves them here while the
    second lasts, and sends what `add` gives back.
    """

    def __init__(self) -> None:
        self._held: dict[str, Trades] = {}
        self._second = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, message: Outgoing) -> list[Outgoing]:
        """What nothing can be joined to any more, in the order of each symbol."""
        if isinstance(message, RejectionRecord):
            return [message]
        if not isinstance(message, Trades):
            held = self._held.pop(message.symbol, None)
            return [message] if held is None else [held, message]
        done: list[Outgoing] = []
        if message.received_at // 1000 != self._second:
            done = self.take()
            self._second = message.received_at // 1000
        held = self._held.get(message.symbol)
        if held is None:
            self._held[message.symbol] = message
        elif _fit(held, message):
            held.trades += message.trades
            held.received_at = message.received_at
        else:
            done.append(held)
            del self._held[message.symbol]
            self._held[message.symbol] = message
        return done

    def take(self) -> list[Outgoing]:
        """All that is held."""
        if not self._held:
            return []
        held: list[Outgoing] = [*self._held.values()]
        self._held.clear()
        return held


def _fit(held: Trades, message: Trades) -> bool:
    return (
        held.connection == message.connection
        and len(held.trades) + len(message.trades) <= MOST_TRADES
    )
