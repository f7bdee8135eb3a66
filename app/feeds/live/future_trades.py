"""Hold back trades ahead of the clock until it is known which time is wrong: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from app.contracts import Trade, Trades

MAX_WAIT_MS = 30_000
"""A time more than a minute ahead stays ahead for this long, so no watermark passes it."""
MAX_PENDING_BYTES = 8 * 1024 * 1024
"""Limit for the frames held back; beyond it, the oldest trades are decided without waiting."""


class PendingTrades(NamedTuple):
    """One symbol's trades of one frame.

    :ivar raw: the frame that contained them.
    """

    message: Trades
    raw: bytes


class Released(NamedTuple):
    """Trades to send because they are in time now, and trades to reject."""

    in_time: list[Trades]
    future: list[PendingTrades]


class FutureTrades:
    """A queue of trades ahead of the clock.

    :param is_future: returns whether a trade's time is too far ahead of the given clock.
    :param has_wrong_times: returns whether a symbol's trades have wrong times; None if unknown.
    """

    def __init__(
        self,
        is_future: Callable[[int, int], bool],
        has_wrong_times: Callable[[str], bool | None],
    ) -> None:
        self._is_future = is_future
        self._has_wrong_times = has_wrong_times
        self._pending: deque[PendingTrades] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._pending)

    def take(self, message: Trades, raw: bytes) -> tuple[Trades | None, Trades | None]:
        """Separate the trades of `message` that are ahead of the clock from the others.

        :returns: the others, and those ahead if their time is known to be wrong. Otherwise the
            latter are held back.
        """
        now_ms = message.received_at
        future = [trade for trade in message.trades if self._is_future(trade.t, now_ms)]
        if not future:
            return message, None
        rest = [trade for trade in message.trades if not self._is_future(trade.t, now_ms)]
        in_time = _with(message, rest, now_ms) if rest else None
        from_future = _with(message, future, now_ms)
        if self._has_wrong_times(message.symbol):
            return in_time, from_future
        self._pending.append(PendingTrades(from_future, raw))
        self._bytes += len(raw)
        return in_time, None

    def release(self, now_ms: int, at_once: bool = False) -> Released:
        """Return the trades that need not be held back any longer.

        :param at_once: whether to release all of them.
        """
        released = Released([], [])
        kept: deque[PendingTrades] = deque()
        for pending in self._pending:
            message = pending.message
            if not any(self._is_future(trade.t, now_ms) for trade in message.trades):
                released.in_time.append(_with(message, message.trades, now_ms))
            elif (
                at_once
                or self._has_wrong_times(message.symbol)
                or now_ms - message.received_at >= MAX_WAIT_MS
                or self._bytes > MAX_PENDING_BYTES
            ):
                released.future.append(pending)
            else:
                kept.append(pending)
                continue
            self._bytes -= len(pending.raw)
        self._pending = kept
        return released

    def moved_forward(self, ms: int) -> None:
        """Adjust to a clock that was moved forward by `ms`."""
        for pending in self._pending:
            pending.message.received_at += ms


def _with(message: Trades, trades: list[Trade], received_at: int) -> Trades:
    return Trades(
        message.symbol, message.feed, message.source, message.connection, received_at, trades
    )
