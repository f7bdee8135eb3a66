"""`ShownCandle`: a candle in the JSON of the page, from Kafka or from the warehouse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from app.contracts import Interval
from app.dashboard.bar import Bar
from app.dashboard.summary import GOLD, LIVE, number, unix_ms
from app.market.rollup_periods import DAY_MS


class ShownCandle(Struct, frozen=True, gc=False):
    """A candle as the page shows it; times in UNIX ms, prices and volumes as doubles."""

    start: int
    """of a day: midnight UTC of its session_date, as in gold; in the topic, its pre-market"""
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    vwap: float | None
    trade_count: int | None
    covered_ms: int | None
    """how long the feed was connected; null when no source reported it"""
    session: str | None
    session_date: str
    status: str | None
    """partial, final or revised"""
    revision: int | None
    """null while it is partial"""
    price_source: str | None
    source: str
    """live (from Kafka) or gold (from the warehouse)"""


def shown_bar(bar: Bar, interval: Interval) -> ShownCandle:
    """Convert a live bar of `interval`."""
    start, end = _day(bar.session_date) if interval == "1d" else (bar.start, bar.end)
    return ShownCandle(
        start=start,
        end=end,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        vwap=bar.notional / bar.volume if bar.volume else None,
        trade_count=bar.trade_count,
        covered_ms=bar.covered_ms,
        session=bar.session,
        session_date=bar.session_date,
        status=bar.status,
        revision=bar.revision,
        price_source=bar.price_source,
        source=LIVE,
    )


def _day(session_date: str) -> tuple[int, int]:
    """Midnight UTC of `session_date`, and of the next day."""
    midnight = datetime.fromisoformat(session_date).replace(tzinfo=UTC)
    start = round(midnight.timestamp() * 1000)
    return start, start + DAY_MS


def shown_row(row: dict[str, Any]) -> ShownCandle | None:
    """Convert a row of gold_candlestick; None when it lacks a price."""
    prices = [number(row[f"candle_{name}"]) for name in ("open", "high", "low", "close")]
    start, end = unix_ms(row["candle_time"]), unix_ms(row["candle_end"])
    if start is None or end is None or None in prices:
        return None
    first, high, low, last = (price for price in prices if price is not None)
    return ShownCandle(
        start=start,
        end=end,
        open=first,
        high=high,
        low=low,
        close=last,
        volume=number(row.get("volume")),
        vwap=number(row.get("vwap")),
        trade_count=row.get("trade_count"),
        covered_ms=row.get("covered_ms"),
        session=row.get("session"),
        session_date=str(row.get("session_date")),
        status=row.get("status"),
        revision=row.get("revision"),
        price_source=row.get("price_source"),
        source=GOLD,
    )
