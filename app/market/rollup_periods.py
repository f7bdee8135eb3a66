"""The periods of candles longer than a minute: which of them contain a minute."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from app.market.sessions import Session, session_bounds, trading_day

DAY_MS = 86_400_000

_WIDTHS_MS = (300_000, 900_000, 3_600_000)
"""Widths of 5m, 15m and 1h. New York's UTC offset is in whole hours, so hours are aligned there
too."""
_DAY = len(_WIDTHS_MS)


class RollupPeriod(NamedTuple):
    """The period of a rollup: [start, end) in UNIX ms, within one session or a whole day."""

    interval_index: int
    """Index among 5m, 15m, 1h and 1d."""
    start: int
    end: int
    session: Session
    """The regular session for a stock's day; minutes of other sessions only add volume to it."""


@lru_cache(maxsize=4096)
def rollup_periods(minute: int, session: Session, session_date: str) -> tuple[RollupPeriod, ...]:
    """Return the rollup periods that contain the minute from `minute` (UNIX ms), shortest first.

    Periods shorter than a day do not cross sessions: a clock interval in which a session begins or
    ends is cut there. A stock's day lasts from the start of its pre-market to the end of its
    post-market. Minutes outside of these sessions have no day.
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
