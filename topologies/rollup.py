"""Rollups of one-minute candles to 5 and 15 minutes, an hour and a day: pure, as `candle.py` is.

A rollup equals, after every message, the merge of the newest records of its minutes. Minutes that
can change no more are folded into one sum a rollup, so what is kept does not grow with its length.
Rules: `docs/topology.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import Struct

from app.contracts import (
    EXACT,
    ROLLUP_TOPICS,
    SCHEMA_VERSION,
    Candle,
    FeedName,
    Interval,
    canonical,
    exact,
)
from app.market.conditions import PriceClass
from app.market.sessions import Session, session_bounds, trading_day
from topologies.window import NO_PRICE, PRICE_SOURCE, Status, Window, vwap

INTERVALS: tuple[Interval, ...] = tuple(ROLLUP_TOPICS)
DAY_MS = 86_400_000
NEVER = 1 << 62

_WIDTHS_MS = (300_000, 900_000, 3_600_000)
"""Of 5m, 15m and 1h. New York is whole hours from UTC, so they begin at its full hours, too."""
_DAY = len(_WIDTHS_MS)
_LAST, _HIGH_LOW = int(PriceClass.LAST), int(PriceClass.HIGH_LOW)
_ZERO = Decimal(0)

Key = tuple[int, int]
"""A rollup of a symbol: its interval's place in `INTERVALS`, and its start."""


class Span(NamedTuple):
    """Which rollup a minute is part of: [start, end) of one session, or of a day."""

    nth: int
    start: int
    end: int
    session: Session
    """Of a stock's day: regular; its other minutes only lend their volume."""


@lru_cache(maxsize=4096)
def spans_of(minute: int, session: Session, session_date: str) -> tuple[Span, ...]:
    """The rollups of the minute from `minute`, shortest first; none of them crosses sessions.

    A bucket of the clock that a session begins or ends in is cut there. A stock's day reaches from
    its pre-market to the end of its post-market; days without trading have none.
    """
    begins, ends = session_bounds(session, session_date)
    spans = []
    for nth, width in enumerate(_WIDTHS_MS):
        bucket = minute - minute % width
        spans.append(Span(nth, max(begins, bucket), min(ends, bucket + width), session))
    if session is Session.CONTINUOUS:
        midnight = minute - minute % DAY_MS
        spans.append(Span(_DAY, midnight, midnight + DAY_MS, session))
    elif session is not Session.CLOSED and (day := trading_day(session_date)) is not None:
        spans.append(Span(_DAY, day.pre, day.end, Session.REGULAR))
    return tuple(spans)


class Sums(Struct, array_like=True, frozen=True, gc=False):
    """What a candle says of its trades."""

    price_class: int = NO_PRICE
    open: Decimal = _ZERO
    high: Decimal = _ZERO
    low: Decimal = _ZERO
    close: Decimal = _ZERO
    open_time: int = 0
    high_time: int = 0
    low_time: int = 0
    close_time: int = 0
    volume: Decimal = _ZERO
    notional: Decimal = _ZERO
    trade_count: int = 0
    eligible_count: int = 0
    odd_lot_count: int = 0
    odd_lot_volume: Decimal = _ZERO
    zero_volume_count: int = 0
    late_count: int = 0
    out_of_order_count: int = 0
    duplicate_count: int = 0
    first_offset: int = NEVER
    last_offset: int = -1
    covered_ms: int | None = None
    pre_volume: Decimal = _ZERO
    post_volume: Decimal = _ZERO


NOTHING = Sums()
"""Of no trade: merging it changes nothing."""


def merge(first: Sums, second: Sums) -> Sums:
    """What two candles say together: the candle of all their trades, by the same rule of prices.

    Open and close come from the better class of the two; high and low from this class too, and when
    it is that of trades for last, from trades for high and low beside. Counts and sums add up. Of
    ties in time, `first` came first.
    """
    better, other = (second, first) if second.price_class < first.price_class else (first, second)
    opens = closes = highs = lows = better
    alike = first.price_class == second.price_class
    if alike:
        opens = second if second.open_time < first.open_time else first
        closes = first if second.close_time < first.close_time else second
    if alike or (better.price_class == _LAST and other.price_class == _HIGH_LOW):
        highs = second if _is_higher(second, first) else first
        lows = second if _is_lower(second, first) else first
    return Sums(
        better.price_class,
        opens.open,
        highs.high,
        lows.low,
        closes.close,
        opens.open_time,
        highs.high_time,
        lows.low_time,
        closes.close_time,
        _sum(first.volume, second.volume),
        _sum(first.notional, second.notional),
        first.trade_count + second.trade_count,
        first.eligible_count + second.eligible_count,
        first.odd_lot_count + second.odd_lot_count,
        _sum(first.odd_lot_volume, second.odd_lot_volume),
        first.zero_volume_count + second.zero_volume_count,
        first.late_count + second.late_count,
        first.out_of_order_count + second.out_of_order_count,
        first.duplicate_count + second.duplicate_count,
        min(first.first_offset, second.first_offset),
        max(first.last_offset, second.last_offset),
        _told(first.covered_ms, second.covered_ms),
        _sum(first.pre_volume, second.pre_volume),
        _sum(first.post_volume, second.post_volume),
    )


def _sum(first: Decimal, second: Decimal) -> Decimal:
    """The exact sum; one of the two themselves when the other is 0, as often it is."""
    return EXACT.add(first, second) if first and second else first or second


def _is_higher(one: Sums, other: Sums) -> bool:
    return one.high > other.high or (one.high == other.high and one.high_time < other.high_time)


def _is_lower(one: Sums, other: Sums) -> bool:
    return one.low < other.low or (one.low == other.low and one.low_time < other.low_time)


def _told(first: int | None, second: int | None) -> int | None:
    """The sum of what was told; None when nothing was."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def sums_of(window: Window, covered_ms: int | None) -> Sums:
    """What the newest record of a minute says."""
    return Sums(
        window.price_class,
        window.open,
        window.high,
        window.low,
        window.close,
        window.open_time,
        window.high_time,
        window.low_time,
        window.close_time,
        window.volume,
        window.notional,
        window.trade_count,
        window.eligible_count,
        window.odd_lot_count,
        window.odd_lot_volume,
        window.zero_volume_count,
        window.late_count,
        window.out_of_order_count,
        window.told_duplicates,
        window.first_offset,
        window.last_offset,  # of a repeat since then, maybe: what is merged anew holds a newer one
        covered_ms,
    )


def share(minute: Sums, session: Session, span: Span) -> Sums:
    """What a minute of `session` lends to a rollup: all, but only its volume beside a day's."""
    if span.session is session:
        return minute
    if session is Session.PRE:
        return Sums(pre_volume=minute.volume)
    return Sums(post_volume=minute.volume)


class Rollup(Struct, array_like=True, gc=False):
    """One open rollup of one symbol."""

    start: int
    end: int
    session: Session
    session_date: str
    revision: int = -1
    """Of the newest record; -1: it is open."""
    past: Sums = NOTHING
    """Of its minutes that can change no more."""
    now: Sums = NOTHING
    """Of all its minutes."""


class Rollups:
    """The open rollups of one symbol, fed with its minutes whenever one of them has a record."""

    __slots__ = ("feed", "gone", "horizon_ms", "open", "price_rule", "symbol", "touched")

    def __init__(
        self, symbol: str, feed: FeedName, price_rule: Literal["sip", "all"], horizon_ms: int
    ) -> None:
        self.symbol = symbol
        self.feed: FeedName = feed
        self.price_rule: Literal["sip", "all"] = price_rule
        self.horizon_ms = horizon_ms
        self.open: dict[Key, Rollup] = {}
        self.touched: set[Key] = set()
        """Those changed since the last save."""
        self.gone: list[Key] = []
        """Those dropped since the last save."""

    def records(
        self,
        told: Iterable[Window],
        windows: Mapping[int, Window],
        covered_ms: Callable[[int], int | None],
        watermark: int,
    ) -> list[Candle]:
        """The rollups' records that one message leads to, at most one each.

        :param told: the minutes that have a new record.
        :param windows: the symbol's open minutes, those among them.
        :param covered_ms: how much of a minute was covered, by its start.
        """
        changed = self._take(told, windows, covered_ms)
        records = []
        for key in sorted(self.open):
            rollup = self.open[key]
            if rollup.now.price_class == NO_PRICE:
                continue  # of a day there is but the volume beside it
            if rollup.revision < 0 and watermark >= rollup.end:
                rollup.revision = 0
                records.append(self._record(key, rollup, "final"))
            elif key in changed and rollup.revision < 0:
                records.append(self._record(key, rollup, "partial"))
            elif key in changed:
                rollup.revision += 1
                records.append(self._record(key, rollup, "revised"))
            else:
                continue
            self.touched.add(key)
        return records

    def _take(
        self,
        told: Iterable[Window],
        windows: Mapping[int, Window],
        covered_ms: Callable[[int], int | None],
    ) -> set[Key]:
        """Let minutes with new records count; which rollups changed."""
        before: dict[Key, Sums] = {}
        anew: dict[Key, Span] = {}
        for window in told:
            minute = sums_of(window, covered_ms(window.start))
            for span in spans_of(window.start, window.session, window.session_date):
                key = span[:2]
                rollup = self.open.get(key) or self._begin(key, span, window.session_date)
                before.setdefault(key, rollup.now)
                if window.revision:
                    anew[key] = span
                else:
                    rollup.now = merge(rollup.now, share(minute, window.session, span))
        for key, span in anew.items():
            self.open[key].now = self._merged(span, windows, covered_ms)
        changed = {key for key, then in before.items() if self.open[key].now != then}
        self.touched |= changed
        return changed

    def _begin(self, key: Key, span: Span, session_date: str) -> Rollup:
        rollup = self.open[key] = Rollup(span.start, span.end, span.session, session_date)
        self.touched.add(key)
        return rollup

    def _merged(
        self,
        span: Span,
        windows: Mapping[int, Window],
        covered_ms: Callable[[int], int | None],
    ) -> Sums:
        """The merge of all minutes of a rollup that have records."""
        merged = self.open[span[:2]].past
        for start, window in windows.items():
            if span.start <= start < span.end and window.revision >= 0:
                minute = sums_of(window, covered_ms(start))
                merged = merge(merged, share(minute, window.session, span))
        return merged

    def fold(self, window: Window, covered_ms: int | None) -> None:
        """Keep of a minute that can change no more what its open rollups need."""
        minute = sums_of(window, covered_ms)
        for span in spans_of(window.start, window.session, window.session_date):
            rollup = self.open.get(span[:2])
            if rollup is not None:
                rollup.past = merge(rollup.past, share(minute, window.session, span))
                self.touched.add(span[:2])

    def drop_past(self, watermark: int) -> None:
        """Drop the rollups that can change no more; before their last minutes are folded."""
        for key in [k for k, r in self.open.items() if watermark >= r.end + self.horizon_ms]:
            del self.open[key]
            self.touched.discard(key)
            self.gone.append(key)

    def next_due_ms(self, watermark: int) -> int:
        """The watermark at which the next rollup becomes final or is dropped."""
        return min(
            (r.end if watermark < r.end else r.end + self.horizon_ms for r in self.open.values()),
            default=NEVER,
        )

    def _record(self, key: Key, rollup: Rollup, status: Status) -> Candle:
        interval, now = INTERVALS[key[0]], rollup.now
        beside = interval == "1d" and rollup.session is Session.REGULAR
        return Candle(
            candle_id=f"{self.symbol}|{interval}|{rollup.start}",
            symbol=self.symbol,
            feed=self.feed,
            interval=interval,
            window_start=rollup.start,
            window_end=rollup.end,
            session=rollup.session.value,
            session_date=rollup.session_date,
            open=exact(now.open),
            high=exact(now.high),
            low=exact(now.low),
            close=exact(now.close),
            open_time=now.open_time,
            high_time=now.high_time,
            low_time=now.low_time,
            close_time=now.close_time,
            volume=canonical(now.volume),
            notional=canonical(now.notional),
            vwap=vwap(now.notional, now.volume),
            trade_count=now.trade_count,
            eligible_count=now.eligible_count,
            odd_lot_count=now.odd_lot_count,
            odd_lot_volume=canonical(now.odd_lot_volume),
            zero_volume_count=now.zero_volume_count,
            price_source=PRICE_SOURCE[now.price_class],
            late_count=now.late_count,
            out_of_order_count=now.out_of_order_count,
            duplicate_count=now.duplicate_count,
            first_offset=now.first_offset,
            last_offset=now.last_offset,
            covered_ms=now.covered_ms,
            revision=None if status == "partial" else rollup.revision,
            status=status,
            price_rule=self.price_rule,
            schema_version=SCHEMA_VERSION,
            pre_volume=canonical(now.pre_volume) if beside else None,
            post_volume=canonical(now.post_volume) if beside else None,
        )
