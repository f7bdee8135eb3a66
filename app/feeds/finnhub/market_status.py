"""Compare Finnhub's market status with this project's calendar: a pure function."""

from __future__ import annotations

from typing import Any

from app.contracts import FeedName
from app.market.sessions import Session, session_of

EXCHANGE = "US"
_ANY_US_STOCK = "AAPL"
_NAMES = {
    Session.PRE: "pre-market",
    Session.REGULAR: "regular",
    Session.CONTINUOUS: "regular",  # the simulated market is always open
    Session.POST: "post-market",
    Session.CLOSED: None,
}
_TOLERANCE_MS = 90_000


def disagreement(status: Any, feed: FeedName, now_ms: int) -> str | None:
    """Describe how a response of /stock/market-status contradicts the calendar; None if not.

    Within 90 seconds of the start or end of a session both may be right.
    """
    if not (isinstance(status, dict) and isinstance(status.get("session", 0), str | None)):
        return f"/stock/market-status answers with {str(status)[:100]!r}, which names no session"
    expected = {
        _NAMES[session_of(_ANY_US_STOCK, feed, now_ms + shift).session]
        for shift in (-_TOLERANCE_MS, 0, _TOLERANCE_MS)
    }
    reported = status["session"]
    if reported in expected:
        return None
    calendar = " or ".join(sorted(name or "closed" for name in expected))
    holiday = f" ({status['holiday']})" if status.get("holiday") else ""
    return (
        f"Finnhub says that the US market is {reported or 'closed'}{holiday}, the calendar says "
        f"{calendar}; sessions of candles follow the calendar"
    )
