"""One open minute of one symbol: its sums and prices, and how a candle is built from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from operator import truediv
from typing import Literal, NamedTuple

from app.contracts import SCHEMA_VERSION, Candle, FeedName, Interval
from app.exact import EXACT, NOTIONAL_DECIMALS, NOTIONAL_STEP, canonical
from app.market.conditions import PriceClass
from app.market.sessions import Session
from topologies.core.condition_effects import ConditionEffect
from topologies.core.sums import NO_PRICE, CandleSums

MINUTE_MS = 60_000
UNREPORTED, NOT_EMITTED = -1, -2
"""Values of `emitted_covered_ms`: the newest record reports no coverage; there is no record yet."""

Status = Literal["partial", "final", "revised"]
MARKET_FIELDS: tuple[str, ...] = (
    "symbol",
    "feed",
    "interval",
    "window_start",
    "window_end",
    "session",
    "session_date",
    "open",
    "high",
    "low",
    "close",
    "open_time",
    "high_time",
    "low_time",
    "close_time",
    "volume",
    "notional",
    "vwap",
    "trade_count",
    "eligible_count",
    "odd_lot_count",
    "odd_lot_volume",
    "zero_volume_count",
    "price_source",
    "pre_volume",
    "post_volume",
)
"""Fields of a candle that depend only on the set of accepted trades and, if times are equal, on
their order."""

_ZERO = Decimal(0)
_LAST, _HIGH_LOW = int(PriceClass.LAST), int(PriceClass.HIGH_LOW)
_TO_INTEGER = Decimal(10) ** NOTIONAL_DECIMALS
_PRICE_SOURCE: dict[int, Literal["last", "high_low", "ineligible", "quote"]] = {
    PriceClass.LAST: "last",
    PriceClass.HIGH_LOW: "high_low",
    PriceClass.INELIGIBLE: "ineligible",
    PriceClass.QUOTE: "quote",
}


@dataclass(slots=True)
class Window:
    """The sums, prices and counts of one minute of one symbol."""

    start: int
    session: Session
    session_date: str
    first_offset: int
    last_offset: int
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
    revision: int = -1
    """Revision of the newest record; -1 until the minute is final."""
    chunks: int = 0
    """Number of chunks of identities in the state store."""
    quote_times: set[int] = field(default_factory=set)
    emitted_duplicates: int = 0
    """`duplicate_count` in the newest record. Duplicates alone cause no revision."""
    emitted_offset: int = -1
    """`last_offset` in the newest record."""
    emitted_covered_ms: int = NOT_EMITTED
    """`covered_ms` in the newest record. An int instead of None, because it is faster when
    compiled."""

    def take(self, t: int, p: Decimal, v: Decimal, effect: ConditionEffect) -> None:
        """Add a trade.

        The thread's decimal context must be `EXACT`, so that sums are not rounded.

        :param t: time of the trade (UNIX ms).
        :param p: price.
        :param v: size; 0 for a price update that is not a trade.
        :param effect: what the trade's sale conditions allow.
        """
        if not v:
            self.zero_volume_count += 1
            self.price(effect.zero_volume_class, t, p)
            return
        self.trade_count += 1
        self.volume += v
        self.notional += (p * v).quantize(NOTIONAL_STEP)
        if effect.odd_lot:
            self.odd_lot_count += 1
            self.odd_lot_volume += v
        price_class = effect.price_class
        if price_class == _LAST:
            self.eligible_count += 1
        self.price(price_class, t, p)

    def price(self, price_class: int, t: int, p: Decimal) -> bool:
        """Apply a price as far as its class allows; return whether anything changed."""
        best = self.price_class
        if price_class == best:
            within = self.low < p < self.high  # the common case
            return self._order(t, p) if within else self._order(t, p) | self._extend(t, p)
        if price_class > best:
            # open and close stay with the better class
            return price_class == _HIGH_LOW and self._extend(t, p)
        self.price_class = price_class
        self.open = self.close = p
        self.open_time = self.close_time = t
        if best == _HIGH_LOW:  # trades of class LAST also set high and low
            self._extend(t, p)
        else:
            self.high = self.low = p
            self.high_time = self.low_time = t
        return True

    def _order(self, t: int, p: Decimal) -> bool:
        """Update open and close. On equal times the first accepted trade opens, the last closes."""
        if t > self.close_time or (t == self.close_time and p != self.close):
            self.close, self.close_time = p, t
            return True
        if t < self.open_time:
            self.open, self.open_time = p, t
            return True
        return False

    def _extend(self, t: int, p: Decimal) -> bool:
        """Update high and low. If prices are equal, the earliest sets the time."""
        changed = False
        if p > self.high or (p == self.high and t < self.high_time):
            self.high, self.high_time = p, t
            changed = True
        if p < self.low or (p == self.low and t < self.low_time):
            self.low, self.low_time = p, t
            changed = True
        return changed


class CandleSeries(NamedTuple):
    """The fields that all candles of a symbol share."""

    symbol: str
    feed: FeedName
    price_rule: Literal["sip", "all"]


class CandlePeriod(NamedTuple):
    """The period of a candle: [start, end) in UNIX ms, and its session."""

    interval: Interval
    start: int
    end: int
    session: Session
    session_date: str


def candle_of(
    sums: Window | CandleSums,
    period: CandlePeriod,
    series: CandleSeries,
    status: Status,
    revision: int,
    covered_ms: int | None,
) -> Candle:
    """Build the record of a minute or a rollup from its current state."""
    interval, start, end, session, session_date = period
    symbol, feed, price_rule = series
    return Candle(  # positional, because keyword arguments take four times as long
        f"{symbol}|{interval}|{start}",
        symbol,
        feed,
        interval,
        start,
        end,
        session._value_,
        session_date,
        sums.open,
        sums.high,
        sums.low,
        sums.close,
        sums.open_time,
        sums.high_time,
        sums.low_time,
        sums.close_time,
        canonical(sums.volume),
        canonical(sums.notional),
        vwap(sums.notional, sums.volume),
        sums.trade_count,
        sums.eligible_count,
        sums.odd_lot_count,
        canonical(sums.odd_lot_volume),
        sums.zero_volume_count,
        _PRICE_SOURCE[sums.price_class],
        sums.late_count,
        sums.out_of_order_count,
        sums.duplicate_count,
        sums.first_offset,
        sums.last_offset,
        covered_ms,
        None if status == "partial" else revision,
        status,
        price_rule,
        SCHEMA_VERSION,
    )


def market_fields(candle: Candle) -> tuple[object, ...]:
    """Return the values of `MARKET_FIELDS` of a candle."""
    return tuple(getattr(candle, name) for name in MARKET_FIELDS)


def vwap(notional: Decimal, volume: Decimal) -> float | None:
    """Return the double nearest to notional / volume; None if the volume is 0."""
    if not volume:
        return None
    multiply = EXACT.multiply
    # division of integers rounds once; the `/` that mypyc compiles also rounds integers above 2**53
    mean: float = truediv(int(multiply(notional, _TO_INTEGER)), int(multiply(volume, _TO_INTEGER)))
    return mean


def newest(records: Iterable[Candle]) -> dict[str, Candle]:
    """Return the last revision of each candle, by candle_id."""
    best: dict[str, Candle] = {}
    for candle in records:
        known = best.get(candle.candle_id)
        if known is None or (candle.revision or 0) >= (known.revision or 0):
            best[candle.candle_id] = candle
    return best
