"""The open bar of a longer interval: its newest rollup, and the minutes that are not final yet.

The candles topology writes a rollup when one of its minutes becomes final. Until then the minute is
only in `candles-live`, so the page adds it. The topics are read by different threads: a rollup may
have a minute of which the page does not hold the final candle yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.contracts import ROLLUP_TOPICS, Interval
from app.dashboard.bar import Bar
from app.market.rollup_periods import rollup_periods
from app.market.sessions import Session

OPEN_MINUTES = 5
"""How many of the newest minutes may not be final yet: a slow source delays final candles."""
INTERVALS: tuple[Interval, ...] = tuple(ROLLUP_TOPICS)
PARTIAL = "partial"


def forming_bar(rollup: Bar | None, minutes: Sequence[Bar], interval: Interval) -> Bar | None:
    """Merge the partial ones of `minutes`, oldest first, into the period of the newest of them.

    :param rollup: the newest rollup of `interval`, if there is one.
    :returns: None when no minute is partial, when the rollup has them already, or when they do not
        count for prices of the period (a stock's day has the prices of its regular session).
    """
    partial = [minute for minute in minutes if minute.status == PARTIAL]
    if not partial:
        return None
    newest = partial[-1]
    periods = rollup_periods(newest.start, Session(newest.session), newest.session_date)
    wanted = INTERVALS.index(interval)
    period = next((found for found in periods if found.interval_index == wanted), None)
    if period is None:
        return None
    base = [rollup] if rollup is not None and rollup.start == period.start else []
    # minutes become final in order: a rollup has those up to the one that its close is of
    begins = base[0].close_time + 1 if base else period.start
    inside = [
        minute
        for minute in partial
        if begins <= minute.start < period.end and minute.session == period.session
    ]
    if not inside:
        return None
    parts = [*base, *inside]
    return msgspec.structs.replace(
        inside[-1],
        start=period.start,
        end=period.end,
        open=parts[0].open,
        high=max(part.high for part in parts),
        low=min(part.low for part in parts),
        volume=sum(part.volume for part in parts),
        notional=sum(part.notional for part in parts),
        trade_count=sum(part.trade_count for part in parts),
        covered_ms=None,
    )
