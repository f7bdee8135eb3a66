"""Periods of candles longer than a minute: which contain a minute, and where sessions cut them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from app.market.sessions import Session, session_bounds, trading_day

DAY_MS = 86_400_000

_WIDTHS_MS = (300_000, 900_000, 3_600_000)
"""Of 5m, 15m and 1h. New York is whole hours from UTC, so hours begin at its full hours too."""
_DAY = len(_WIDTHS_MS)


class RollupPeriod(NamedTuple):
    """The period of a rollup: [start, end) of one session, or of a day."""

    interval_index: int
    """among 5m, 15m, 1h and 1d"""
    start: int
    end: int
    session: Session
    """Regular for a stock's day; minutes of other sessions only contribute their volume to it."""


@lru_cache(maxsize=4096)
def rollup_periods(minute: int, session: Session, session_date: str) -> tuple[RollupPeriod, ...]:
    """The rollups that contain the minute from `minute`, shortest first; none crosses sessions.

    A clock bucket in which a session begins or ends is cut there. A stock's day reaches from its
    pre-market to the end of its post-market; days without trading have none.
    """
    begins, ends = session_bounds(session, session_date)
    periods = []
    for interval_index, width in enumerate(_WIDTHS_MS):
        bucket = minute - minute % width
        periods.append(
            RollupPeriod(interval_index, max(begins, bucket), min(ends, bucket + width), session)
        )
    if session is Session.CONTINUOUS:
        midnight = minute - minute % DAY_MS
        periods.append(RollupPeriod(_DAY, midnight, midnight + DAY_MS, session))
    elif session is not Session.CLOSED and (day := trading_day(session_date)) is not None:
        periods.append(RollupPeriod(_DAY, day.pre, day.end, Session.REGULAR))
    return tuple(periods)
