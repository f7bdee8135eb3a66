"""A symbol's line on the page: live candles and the warehouse's gold, whichever is fresher.

The price comes from whichever is newer. Totals of the trading day (range, volume, traded value)
come from whichever has seen more of it: they only grow. What needs history (previous close, usual
volume, volatility) is gold's alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct

from app.dashboard.day import Day

GoldRow = Mapping[str, Any]
LIVE, GOLD = "live", "gold"
SESSION_OPEN = "session open"
EVERY_SYMBOL = "*"
"""Stands for all symbols in gold_gauge and among the gauges; no symbol is named so."""
_LONG_WEEKEND = timedelta(days=4)


class Totals(Struct, frozen=True):
    """A trading day so far. `since` is the first minute counted, None where gold counted it."""

    source: str
    low: float
    high: float
    volume: float
    traded_value: float
    vwap: float | None
    since: int | None


class Line(Struct, frozen=True, kw_only=True):
    """What tiles, tree map and gauges show of one symbol; times in UNIX ms."""

    symbol: str
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
    sector: str | None = None
    volatility: float | None = None
    relative_volatility: float | None = None
    usual_volume: float | None = None
    usual_sales: float | None = None
    usual_days: int | None = None


class Gauge(Struct, frozen=True):
    """A gauge: its value, the usual value by this minute if known, and its end."""

    value: float
    usual: float | None
    max: float


def line_of(symbol: str, day: Day | None, gold: GoldRow | None, closes: list[float]) -> Line | None:
    """The line of `symbol`.

    :param day: its newest trading day by live candles.
    :param gold: its columns of gold_kpi, gold_treechart and gold_gauge in one row.
    :param closes: its last closes, for the number of decimals.
    :return: None when neither has a price.
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
    return Line(
        symbol=symbol,
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
        sector=gold.get("sector"),
        volatility=number(gold.get("volatility")),
        relative_volatility=number(gold.get("relative_volatility")),
        usual_volume=number(gold.get("usual_volume")),
        usual_sales=number(gold.get("usual_sales")),
        usual_days=gold.get("usual_days"),
    )


class _Price(NamedTuple):
    price: float
    as_of: int
    session_date: str
    source: str


def _live_price(day: Day | None) -> _Price | None:
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


def _totals(day: Day | None, gold: GoldRow, price: float) -> Totals:
    live = _live_totals(day) if day else None
    volume = number(gold.get("volume"))
    if volume is None or (live and live.volume >= volume):
        return live or Totals(GOLD, price, price, 0.0, 0.0, None, None)
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
        since=None,
    )


def _live_totals(day: Day) -> Totals:
    return Totals(
        source=LIVE,
        low=day.low,
        high=day.high,
        volume=day.volume,
        traded_value=day.notional,
        vwap=day.notional / day.volume if day.volume else None,
        since=day.since,
    )


def _reference(gold: GoldRow, day: Day | None) -> tuple[float | None, str | None]:
    """The price that the change is against, and its name."""
    reference = number(gold.get("reference_price"))
    if reference is not None:
        return reference, str(gold.get("change_basis") or "").replace("_", " ") or None
    return (day.open, SESSION_OPEN) if day else (None, None)


def gauges(lines: Iterable[Line], gold_all: GoldRow | None) -> dict[str, dict[str, Gauge]]:
    """The gauges of volume and sales for each symbol, and under `EVERY_SYMBOL` for all.

    A gauge ends at twice its usual value; with no history, at the largest of all symbols. The
    gauge of all leaves out symbols that have not traded for more than a long weekend.
    """
    lines = list(lines)
    if not lines:
        return {}
    newest = max(date.fromisoformat(line.session_date) for line in lines)
    trading = [
        line for line in lines if newest - date.fromisoformat(line.session_date) <= _LONG_WEEKEND
    ]
    most_volume = max(line.totals.volume for line in lines)
    most_sales = max(line.totals.traded_value for line in lines)
    found = {
        line.symbol: {
            "volume": _gauge(line.totals.volume, line.usual_volume, most_volume),
            "sales": _gauge(line.totals.traded_value, line.usual_sales, most_sales),
        }
        for line in lines
    }
    gold_all = gold_all or {}
    volume = math.fsum(line.totals.volume for line in trading)
    sales = math.fsum(line.totals.traded_value for line in trading)
    found[EVERY_SYMBOL] = {
        "volume": _gauge(volume, number(gold_all.get("usual_volume")), volume),
        "sales": _gauge(sales, number(gold_all.get("usual_sales")), sales),
    }
    return found


def _gauge(value: float, usual: float | None, largest: float) -> Gauge:
    if not usual or usual < 0:
        return Gauge(value, None, max(value, largest))
    return Gauge(value, usual, max(value, 2 * usual))


def display_digits(prices: list[float]) -> int:
    """How many decimals to show for prices like these: as many as most need, from 2 to 8."""
    needed = sorted(_decimals(price) for price in prices)
    usual = needed[len(needed) // 2] if needed else 2
    magnitude = abs(prices[-1]) if prices else 1
    most = 2 if magnitude >= 1_000 else 4 if magnitude >= 10 else 6 if magnitude >= 0.01 else 8
    return min(max(usual, 2), most)


def _decimals(price: float) -> int:
    return len(f"{price:.8f}".rstrip("0").partition(".")[2])


def number(value: Any) -> float | None:
    """`value` as a finite double, or None."""
    if value is None:
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def unix_ms(value: Any) -> int | None:
    """A warehouse timestamp (naive, UTC) in UNIX ms."""
    if not isinstance(value, datetime):
        return None
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
