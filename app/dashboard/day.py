"""Totals of a trading day: range, volume and traded value of its bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from app.dashboard.bar import Bar

_MAIN_SESSIONS = ("regular", "continuous")


class DayTotals(Struct, frozen=True):
    """Aggregate of one symbol's bars of a trading day; `newest` is the last of them."""

    since: int
    open: float
    """Open of the regular (or continuous) session; of the first bar until that session begins."""
    open_is_main: bool
    low: float
    high: float
    volume: float
    notional: float
    trade_count: int
    newest: Bar


def day_totals(bars: Sequence[Bar]) -> DayTotals | None:
    """Aggregate `bars`, which share one session_date, oldest first."""
    if not bars:
        return None
    main = next((bar for bar in bars if bar.session in _MAIN_SESSIONS), None)
    return DayTotals(
        since=bars[0].start,
        open=(main or bars[0]).open,
        open_is_main=main is not None,
        low=min(bar.low for bar in bars),
        high=max(bar.high for bar in bars),
        volume=math.fsum(bar.volume for bar in bars),
        notional=math.fsum(bar.notional for bar in bars),
        trade_count=sum(bar.trade_count for bar in bars),
        newest=bars[-1],
    )


def with_bar(earlier: DayTotals | None, bar: Bar) -> DayTotals:
    """Return `earlier` with a later bar of the same day added."""
    single = day_totals([bar])
    assert single
    if earlier is None:
        return single
    opens_now = single.open_is_main and not earlier.open_is_main
    return DayTotals(
        since=earlier.since,
        open=bar.open if opens_now else earlier.open,
        open_is_main=earlier.open_is_main or single.open_is_main,
        low=min(earlier.low, bar.low),
        high=max(earlier.high, bar.high),
        volume=earlier.volume + bar.volume,
        notional=earlier.notional + bar.notional,
        trade_count=earlier.trade_count + bar.trade_count,
        newest=bar,
    )
