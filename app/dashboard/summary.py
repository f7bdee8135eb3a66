"""Summary of a symbol, combined from live candles and the warehouse's gold.

The price comes from the newer of the two. Totals of the trading day (range, volume, traded value)
come from the one with the larger volume, as totals only grow. Figures that need history (previous
close, typical volume, volatility) come from gold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct

from app.dashboard.bar import Bar
from app.dashboard.day import DayTotals
from app.market.symbols import SymbolClass, symbol_class

GoldRow = Mapping[str, Any]
LIVE, GOLD = "live", "gold"
SESSION_OPEN = "session open"
_LONG_WEEKEND = timedelta(days=4)


class Totals(Struct, frozen=True):
    """Totals of the trading day so far. `since` is the first minute counted, None from gold."""

    source: str
    low: float
    high: float
    volume: float
    traded_value: float
    vwap: float | None
    trade_count: int | None
    since: int | None


class SymbolSummary(Struct, frozen=True, kw_only=True):
    """Figures of one symbol for tiles, tree map and gauges; times in UNIX ms."""

    symbol: str
    symbol_class: SymbolClass
    digits: int
    price: float
    as_of: int
    price_source: str
    change_amount: float | None
    change_percent: float | None
    change_basis: str | None
    session: str | None
    session_date: str
    totals: Totals
    last_range_bp: float | None = None
    """Range of the newest minute, in basis points of its close; None from gold alone."""
    sector: str | None = None
    volatility: float | None = None
    relative_volatility: float | None = None
    typical_volume: float | None = None
    typical_sales: float | None = None
    typical_days: int | None = None


class Gauge(Struct, frozen=True):
    """A gauge: its value, the typical value by this minute, and full scale."""

    value: float
    typical: float | None
    relative: float | None
    """value / typical: for the volume, the relative volume."""
    max: float


def summarize_symbol(
    symbol: str, day: DayTotals | None, gold: GoldRow | None, closes: list[float]
) -> SymbolSummary | None:
    """Summarize `symbol`.

    :param day: totals of its newest trading day from live candles.
    :param gold: its columns of gold_kpi, gold_treechart and gold_gauge in one row.
    :param closes: its last closes, which decide the number of decimals.
    :return: None when neither live candles nor gold have a price.
    """
    gold = gold or {}
    prices = [found for found in (_live_price(day), _gold_price(gold)) if found]
    if not prices:
        return None
    newest = max(prices, key=lambda found: found.as_of)
    today = max(found.session_date for found in prices)
    gold = gold if str(gold.get("session_date")) == today else {"sector": gold.get("sector")}
    if day and day.newest.session_date != today:
        day = None
    reference, basis = _reference(gold, day)
    return SymbolSummary(
        symbol=symbol,
        symbol_class=symbol_class(symbol),
        digits=display_digits(closes or [newest.price]),
        price=newest.price,
        as_of=newest.as_of,
        price_source=newest.source,
        change_amount=newest.price - reference if reference else None,
        change_percent=(newest.price / reference - 1) * 100 if reference else None,
        change_basis=basis,
        session=day.newest.session if day else gold.get("session"),
        session_date=today,
        totals=_totals(day, gold, newest.price),
        last_range_bp=_range_bp(day.newest) if day else None,
        sector=gold.get("sector"),
        volatility=number(gold.get("volatility")),
        relative_volatility=number(gold.get("relative_volatility")),
        typical_volume=number(gold.get("typical_volume")),
        typical_sales=number(gold.get("typical_sales")),
        typical_days=gold.get("typical_days"),
    )


def _range_bp(bar: Bar) -> float | None:
    return (bar.high - bar.low) / bar.close * 10_000 if bar.close else None


class _Price(NamedTuple):
    price: float
    as_of: int
    session_date: str
    source: str


def _live_price(day: DayTotals | None) -> _Price | None:
    if day is None:
        return None
    bar = day.newest
    return _Price(bar.close, bar.close_time, bar.session_date, LIVE)


def _gold_price(gold: GoldRow) -> _Price | None:
    price, as_of = number(gold.get("current_price")), unix_ms(gold.get("as_of"))
    session_date = gold.get("session_date")
    if price is None or as_of is None or session_date is None:
        return None
    return _Price(price, as_of, str(session_date), GOLD)


def _totals(day: DayTotals | None, gold: GoldRow, price: float) -> Totals:
    live = _live_totals(day) if day else None
    volume = number(gold.get("volume"))
    if volume is None or (live and live.volume >= volume):
        return live or Totals(GOLD, price, price, 0.0, 0.0, None, None, None)
    seen = [number(gold.get("day_low")), number(gold.get("day_high"))]
    if live:
        seen += [live.low, live.high]
    prices = [found for found in seen if found is not None] or [price]
    return Totals(
        source=GOLD,
        low=min(prices),
        high=max(prices),
        volume=volume,
        traded_value=number(gold.get("traded_value")) or 0.0,
        vwap=number(gold.get("vwap")),
        trade_count=gold.get("trade_count"),
        since=None,
    )


def _live_totals(day: DayTotals) -> Totals:
    return Totals(
        source=LIVE,
        low=day.low,
        high=day.high,
        volume=day.volume,
        traded_value=day.notional,
        vwap=day.notional / day.volume if day.volume else None,
        trade_count=day.trade_count,
        since=day.since,
    )


def _reference(gold: GoldRow, day: DayTotals | None) -> tuple[float | None, str | None]:
    """The price that the change is measured from, and its name."""
    reference = number(gold.get("reference_price"))
    if reference is not None:
        return reference, str(gold.get("change_basis") or "").replace("_", " ") or None
    return (day.open, SESSION_OPEN) if day else (None, None)


def gauges(symbols: Iterable[SymbolSummary]) -> dict[str, dict[str, Gauge]]:
    """Gauges of volume and sales for each symbol.

    Full scale is twice the typical value; without history, the largest value of any symbol of the
    class.
    """
    found = {}
    for members in _by_class(symbols).values():
        most_volume = max(each.totals.volume for each in members)
        most_sales = max(each.totals.traded_value for each in members)
        for each in members:
            found[each.symbol] = {
                "volume": _gauge(each.totals.volume, each.typical_volume, most_volume),
                "sales": _gauge(each.totals.traded_value, each.typical_sales, most_sales),
            }
    return found


def class_gauges(symbols: Iterable[SymbolSummary]) -> dict[SymbolClass, dict[str, Gauge]]:
    """Gauges of volume and sales for all symbols of each class; of volume, only for stocks.

    Sizes of other classes are not added up: each coin, currency and contract is a unit of its own.

    A total leaves out symbols that have not traded for longer than a long weekend and, unless none
    of the class has a typical value, those without one: it compares like with like.
    """
    symbols = list(symbols)
    dates = {each.symbol: date.fromisoformat(each.session_date) for each in symbols}
    newest = max(dates.values(), default=date.min)
    trading = [each for each in symbols if newest - dates[each.symbol] <= _LONG_WEEKEND]
    found: dict[SymbolClass, dict[str, Gauge]] = {}
    for of, members in _by_class(trading).items():
        sales = _total([(each.totals.traded_value, each.typical_sales) for each in members])
        found[of] = {"sales": sales}
        if of == SymbolClass.US_STOCK:
            volume = _total([(each.totals.volume, each.typical_volume) for each in members])
            found[of]["volume"] = volume
    return found


def _by_class(symbols: Iterable[SymbolSummary]) -> dict[SymbolClass, list[SymbolSummary]]:
    found: dict[SymbolClass, list[SymbolSummary]] = {}
    for each in symbols:
        found.setdefault(each.symbol_class, []).append(each)
    return found


def _total(values: list[tuple[float, float | None]]) -> Gauge:
    """The gauge of the sum of values, each with its typical value."""
    with_typical = [(value, typical) for value, typical in values if typical and typical > 0]
    total = math.fsum(value for value, _ in with_typical or values)
    return _gauge(total, math.fsum(typical for _, typical in with_typical), total)


def _gauge(value: float, typical: float | None, largest: float) -> Gauge:
    if not typical or typical < 0:
        return Gauge(value, None, None, max(value, largest))
    return Gauge(value, typical, value / typical, max(value, 2 * typical))


def display_digits(prices: list[float]) -> int:
    """Number of decimals to show prices with: as many as most of `prices` need, from 2 to 8."""
    needed = sorted(_decimals(price) for price in prices)
    median = needed[len(needed) // 2] if needed else 2
    magnitude = abs(prices[-1]) if prices else 1
    most = 2 if magnitude >= 1_000 else 4 if magnitude >= 10 else 6 if magnitude >= 0.01 else 8
    return min(max(median, 2), most)


def _decimals(price: float) -> int:
    return len(f"{price:.8f}".rstrip("0").partition(".")[2])


def number(value: Any) -> float | None:
    """Convert `value` to a finite double, or None."""
    if value is None:
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def unix_ms(value: Any) -> int | None:
    """Convert a warehouse timestamp (naive, UTC) to UNIX ms."""
    if not isinstance(value, datetime):
        return None
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
