"""The quote of a symbol, aggregated from the prints of the day as they are reported."""

from __future__ import annotations

from msgspec import Struct

from app.feeds.simulator.market.prints import Print, as_number, codes
from app.market.conditions import PriceClass, eligibility
from app.market.sessions import Session

DAY_MS = 86_400_000


class QuoteBody(Struct):
    """The response to `/quote`, in Finnhub's order."""

    c: float
    d: float | None
    dp: float | None
    h: float
    l: float  # noqa: E741
    o: float
    pc: float
    t: int
    """UNIX seconds of the last trade."""


UNKNOWN = QuoteBody(c=0, d=None, dp=None, h=0, l=0, o=0, pc=0, t=0)
"""Finnhub's response for a symbol it does not know, with status 200."""


class DayQuote:
    """One symbol's current price, range of the day and previous close.

    The day is the UTC day, because a simulated market never closes. By the tape's rules, prints
    that may set open and close set `o` and `c`; those that may set high and low set `h` and `l`.
    """

    def __init__(self, previous_close: float, now_ms: int) -> None:
        self._day = now_ms // DAY_MS
        self._previous_close = self._last = as_number(float(previous_close))
        self._last_t = self._day * DAY_MS - 1000
        self._open: float | None = None
        self._high: float | None = None
        self._low: float | None = None

    def add(self, trade: Print) -> None:
        """Update the quote with one reported print."""
        day = trade.t // DAY_MS
        if trade.v == 0 or day < self._day:
            return
        if day > self._day:
            self._roll_over(day)
        rule = eligibility(codes(trade.c), Session.CONTINUOUS).price_class
        if rule <= PriceClass.HIGH_LOW:
            self._high = trade.p if self._high is None else max(self._high, trade.p)
            self._low = trade.p if self._low is None else min(self._low, trade.p)
        if rule is PriceClass.LAST:
            self._open = trade.p if self._open is None else self._open
            if trade.t >= self._last_t:
                self._last, self._last_t = trade.p, trade.t

    def body(self) -> QuoteBody:
        """Return the quote; before the day's first trade, that of the previous close."""
        last, before = self._last, self._previous_close
        return QuoteBody(
            c=last,
            d=as_number(round(float(last - before), 6)),
            dp=as_number(round((last / before - 1) * 100, 4)),
            h=last if self._high is None else self._high,
            l=last if self._low is None else self._low,
            o=last if self._open is None else self._open,
            pc=before,
            t=self._last_t // 1000,
        )

    def _roll_over(self, day: int) -> None:
        self._day = day
        self._previous_close = self._last
        self._open = self._high = self._low = None
