"""The sums and prices of a candle, and how several candles merge into one."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from app.exact import EXACT
from app.market.conditions import PriceClass

NO_PRICE = PriceClass.QUOTE + 1
"""The price class of a candle that has no price yet."""

_LAST, _HIGH_LOW = int(PriceClass.LAST), int(PriceClass.HIGH_LOW)
_NO_OFFSET = 1 << 62
_ZERO = Decimal(0)


class CandleSums(Struct, array_like=True, frozen=True, gc=False):
    """The fields of a candle that are aggregated from its trades."""

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
    first_offset: int = _NO_OFFSET
    last_offset: int = -1
    covered_ms: int | None = None
    pre_volume: Decimal = _ZERO
    post_volume: Decimal = _ZERO


NO_TRADES = CandleSums()
"""The sums of a candle without trades: the neutral element of `merge`."""


def merge(first: CandleSums, second: CandleSums) -> CandleSums:
    """Merge two candles into the candle of all their trades, by the same price rules.

    Open and close come from the better price class of the two. High and low come from that class
    too; if it is `LAST`, prices of class `HIGH_LOW` may set them as well. Counts and sums add up.
    If times are equal, `first` counts as the earlier one.
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
    return CandleSums(
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
        _sum_reported(first.covered_ms, second.covered_ms),
        _sum(first.pre_volume, second.pre_volume),
        _sum(first.post_volume, second.post_volume),
    )


def _sum(first: Decimal, second: Decimal) -> Decimal:
    """Return the exact sum. Skips the addition when one of the two is 0, which is frequent."""
    return EXACT.add(first, second) if first and second else first or second


def _is_higher(sums: CandleSums, other: CandleSums) -> bool:
    return sums.high > other.high or (sums.high == other.high and sums.high_time < other.high_time)


def _is_lower(sums: CandleSums, other: CandleSums) -> bool:
    return sums.low < other.low or (sums.low == other.low and sums.low_time < other.low_time)


def _sum_reported(first: int | None, second: int | None) -> int | None:
    """Return the sum of the reported values; None if neither was reported."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
