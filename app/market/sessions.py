"""Trading sessions: the session and trading day that a time belongs to.

US stocks follow the New York Stock Exchange's calendar: pre-market from 04:00 to the open, regular
hours from open to close (13:00 on half days), post-market from the close to 20:00 (17:00 on half
days), all in New York time. Other symbols (crypto, currencies, futures) trade around the clock:
their session is `continuous`, and their trading day is the UTC day.

The range of the calendar is fixed rather than relative to today, so that the session of a time
never depends on when it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.market.symbols import SymbolClass, symbol_class

NEW_YORK = ZoneInfo("America/New_York")
FIRST_DAY, LAST_DAY = "1990-01-01", "2050-12-31"
FIRST_MS = 631_152_000_000
"""1990-01-01 UTC; earlier trades are out of range."""
END_MS = 2_556_144_000_000
"""2051-01-01 UTC; trades at or after it are out of range."""

PRE_OPEN_HOUR, POST_CLOSE_HOUR, HALF_DAY_POST_CLOSE_HOUR = 4, 20, 17
_DAY_MS = 86_400_000


class Session(StrEnum):
    """The part of a trading day that a minute belongs to."""

    PRE = "pre"
    REGULAR = "regular"
    POST = "post"
    CLOSED = "closed"
    CONTINUOUS = "continuous"


class SessionOf(NamedTuple):
    """A session, and the trading day it belongs to (ISO date)."""

    session: Session
    session_date: str


class TradingDay(NamedTuple):
    """Bounds of a New York trading day in UNIX ms: pre-market, open, close, end of post-market."""

    pre: int
    open: int
    close: int
    end: int


_known: dict[str, TradingDay | None] = {}


@cache
def _calendar() -> Any:
    import exchange_calendars  # imported here because it imports pandas, which few processes need

    return exchange_calendars.get_calendar("XNYS", start=FIRST_DAY, end=LAST_DAY)


def load_calendar() -> None:
    """Load the exchange calendar now (0.9 s of CPU) rather than with the first trade of a stock."""
    _calendar()


def add_known_days(days: Mapping[str, TradingDay | None]) -> None:
    """Use `days` (bounds by ISO date) instead of loading the calendar for them."""
    _known.update(days)


@lru_cache(maxsize=4096)
def trading_day(date: str) -> TradingDay | None:
    """Return the bounds of the New York trading day `date` (ISO); None on weekends and holidays."""
    if date in _known:
        return _known[date]
    calendar = _calendar()
    if not FIRST_DAY <= date <= LAST_DAY or not calendar.is_session(date):
        return None
    opened = calendar.session_open(date).to_pydatetime().astimezone(NEW_YORK)
    closed = calendar.session_close(date).to_pydatetime().astimezone(NEW_YORK)
    end_hour = POST_CLOSE_HOUR if closed.hour >= 16 else HALF_DAY_POST_CLOSE_HOUR
    return TradingDay(
        pre=_ms(opened.replace(hour=PRE_OPEN_HOUR, minute=0)),
        open=_ms(opened),
        close=_ms(closed),
        end=_ms(closed.replace(hour=end_hour, minute=0)),
    )


def session_of(symbol: str, feed: str, t: int) -> SessionOf:
    """Return the session of `symbol` at `t` (UNIX ms). A simulated market is always open."""
    if feed == "simulated" or symbol_class(symbol) is not SymbolClass.US_STOCK:
        return SessionOf(Session.CONTINUOUS, _utc_date(t // _DAY_MS))
    date = datetime.fromtimestamp(t / 1000, NEW_YORK).date().isoformat()
    day = trading_day(date)
    if day is None or not day.pre <= t < day.end:
        return SessionOf(Session.CLOSED, date)
    if t < day.open:
        return SessionOf(Session.PRE, date)
    return SessionOf(Session.REGULAR if t < day.close else Session.POST, date)


def session_bounds(session: Session, session_date: str) -> tuple[int, int]:
    """Return the start and end of a session on `session_date`, in UNIX ms.

    For `continuous`, `closed` and days without trading, these are the bounds of the calendar.
    """
    if session in (Session.CLOSED, Session.CONTINUOUS):
        return FIRST_MS, END_MS
    day = trading_day(session_date)
    if day is None:
        return FIRST_MS, END_MS
    bounds = {
        Session.PRE: (day.pre, day.open),
        Session.REGULAR: (day.open, day.close),
        Session.POST: (day.close, day.end),
    }
    return bounds[session]


@lru_cache(maxsize=64)
def _utc_date(days: int) -> str:
    return datetime.fromtimestamp(days * 86_400, UTC).date().isoformat()


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
