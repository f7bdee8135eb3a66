"""`Bar`: a candle with double-precision fields, as the page holds it."""

from __future__ import annotations

import math
from datetime import date
from functools import lru_cache

from msgspec import Struct

from app.contracts import Candle, Interval
from app.market.sessions import END_MS, FIRST_MS

MINUTE_MS = 60_000
LONGEST_MS = 25 * 3_600_000
MAX_SYMBOL_LENGTH = 64


class Bar(Struct, frozen=True, gc=False):
    """One candle, its prices and volumes as doubles."""

    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    notional: float
    trade_count: int
    covered_ms: int | None
    session: str
    session_date: str
    status: str
    revision: int | None
    price_source: str
    close_time: int
    last_offset: int


class UnusableCandle(ValueError):
    """A record of a candle topic cannot be shown; the message gives the reason."""


def bar_of(candle: Candle, feed: str, interval: Interval = "1m") -> Bar:
    """Convert `candle` to a bar.

    :raises UnusableCandle: it is of another feed or interval, or a value is out of range.
    """
    if candle.feed != feed:
        raise UnusableCandle(f"a candle of feed {candle.feed}; this page shows {feed}")
    if candle.interval != interval:
        raise UnusableCandle(f"a candle of interval {candle.interval}; this page shows {interval}")
    if not 0 < len(candle.symbol) <= MAX_SYMBOL_LENGTH:
        raise UnusableCandle(f"a symbol of {len(candle.symbol)} characters")
    start = candle.window_start
    if not FIRST_MS <= start < END_MS or start % MINUTE_MS:
        raise UnusableCandle(f"window_start {start} is not the start of a minute from 1990 to 2050")
    if not start < candle.window_end <= start + LONGEST_MS:
        raise UnusableCandle(f"window_end {candle.window_end} is not within a day of {start}")
    if not _is_date(candle.session_date):
        raise UnusableCandle(f"session_date {candle.session_date[:20]!r} is not an ISO date")
    bar = Bar(
        start=start,
        end=candle.window_end,
        open=float(candle.open),
        high=float(candle.high),
        low=float(candle.low),
        close=float(candle.close),
        volume=float(candle.volume),
        notional=float(candle.notional),
        trade_count=candle.trade_count,
        covered_ms=candle.covered_ms,
        session=candle.session,
        session_date=candle.session_date,
        status=candle.status,
        revision=candle.revision,
        price_source=candle.price_source,
        close_time=candle.close_time,
        last_offset=candle.last_offset,
    )
    numbers = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.notional)
    if not all(map(math.isfinite, numbers)):
        raise UnusableCandle("a price or volume is too large for a double")
    return bar


@lru_cache(maxsize=256)
def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
