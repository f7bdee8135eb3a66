"""A trading day so far: what its bars add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from app.dashboard.bar import Bar

_MAIN_SESSIONS = ("regular", "continuous")


class Day(Struct, frozen=True):
    """The bars of one symbol's trading day in one; `newest` is the last of them."""

    since: int
    open: float
    """Of the regular (or continuous) session; of the first bar until that has begun."""
    open_is_main: bool
    low: float
    high: float
    volume: float
    notional: float
    newest: Bar


def day_of(bars: Sequence[Bar]) -> Day | None:
    """The day of `bars`, which are of one session_date, oldest first."""
    if not bars:
        return None
    main = next((bar for bar in bars if bar.session in _MAIN_SESSIONS), None)
    return Day(
        since=bars[0].start,
        open=(main or bars[0]).open,
        open_is_main=main is not None,
        low=min(bar.low for bar in bars),
        high=max(bar.high for bar in bars),
        volume=math.fsum(bar.volume for bar in bars),
        notional=math.fsum(bar.notional for bar in bars),
        newest=bars[-1],
    )


def joined(earlier: Day | None, bar: Bar) -> Day:
    """`earlier` with one more, later bar of the same day."""
    alone = day_of([bar])
    assert alone
    if earlier is None:
        return alone
    opens_now = alone.open_is_main and not earlier.open_is_main
    return Day(
        since=earlier.since,
        open=bar.open if opens_now else earlier.open,
        open_is_main=earlier.open_is_main or alone.open_is_main,
        low=min(earlier.low, bar.low),
        high=max(earlier.high, bar.high),
        volume=earlier.volume + bar.volume,
        notional=earlier.notional + bar.notional,
        newest=bar,
    )
