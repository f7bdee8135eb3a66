"""Data of the page, combined from live candles and the warehouse's gold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from app.dashboard.bar import Bar
from app.dashboard.gold import FileIdentity, GoldNotBuilt, GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.summary import (
    ALL_SYMBOLS,
    SymbolSummary,
    gauges,
    number,
    summarize_symbol,
    unix_ms,
)
from app.settings import Settings

RECENT_CLOSES = 50
"""Number of closes that decide how many decimals a symbol's prices are shown with."""
_Versions = tuple[int, FileIdentity | None]


class Page:
    """Provides the data that the routes return; rules of candles and totals live elsewhere.

    :param clock: returns the current time, UNIX ms.
    """

    def __init__(
        self, settings: Settings, live: LiveCandles, gold: GoldReader, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self.live = live
        self.gold = gold
        self._clock = clock
        self._lock = threading.Lock()
        self._symbol_summaries: dict[str, tuple[_Versions, SymbolSummary | None]] = {}
        self._summary: tuple[_Versions, bytes] | None = None

    def symbols(self) -> list[str]:
        """Symbols with candles or gold, and those that the settings name; sorted."""
        return sorted({*self._with_prices(), *self._followed()})

    def _with_prices(self) -> set[str]:
        gold = self.gold.gold
        return {*self.live.symbols(), *(gold.symbols() if gold else ())}

    def _followed(self) -> tuple[str, ...]:
        """Symbols of the settings; those of a replay or a file show up with their candles."""
        from_file = (
            self._settings.tickhouse_feed == "replay"
            or self._settings.stocks_symbols_file is not None
        )
        return () if from_file else self._settings.stocks_symbols

    def candles(self, symbol: str, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The last `limit` candles of `symbol`, and the version of the live ones among them.

        Minutes that Kafka no longer holds come from gold.
        """
        bars, live_version = self.live.newest(symbol, limit)
        live = [bar_json(bar) for bar in bars]
        gold = self.gold.gold
        if gold is None or len(live) >= limit:
            return live, live_version
        held = {bar.start for bar in bars}
        found = map(gold_bar, gold.candles(symbol, limit))
        merged = [*(bar for bar in found if bar and bar["start"] not in held), *live]
        return sorted(merged, key=lambda bar: bar["start"])[-limit:], live_version

    def summary(self) -> bytes:
        """Summaries of every symbol with a price, and the gauges, as JSON.

        May be called from any thread; totals of many symbols take a while.
        """
        with self._lock:
            return self._cached_summary()

    def _cached_summary(self) -> bytes:
        key = (self.live.version, self._gold_file())
        if self._summary is None or self._summary[0] != key:
            found = map(self.symbol_summary, sorted(self._with_prices()))
            symbols = [summary for summary in found if summary]
            gold = self.gold.gold
            meters = gauges(symbols, gold.row(ALL_SYMBOLS) if gold else None)
            summary = {"symbols": symbols, "gauges": meters, "has_gold": gold is not None}
            self._summary = (key, msgspec.json.encode(summary))
        return self._summary[1]

    def symbol_summary(self, symbol: str) -> SymbolSummary | None:
        """The summary of `symbol`, or None without a price. May be called from any thread."""
        gold = self.gold.gold
        key = (self.live.series_version(symbol), self._gold_file())
        held = self._symbol_summaries.get(symbol)
        if held is None or held[0] != key:
            day, live_version = self.live.day(symbol)
            closes = [bar.close for bar in self.live.newest(symbol, RECENT_CLOSES)[0]]
            row = gold.row(symbol) if gold else None
            summary = summarize_symbol(symbol, day, row, closes)
            held = self._symbol_summaries[symbol] = ((live_version, key[1]), summary)
        return held[1]

    def _gold_file(self) -> FileIdentity | None:
        gold = self.gold.gold
        return gold.file if gold else None

    def status(self) -> dict[str, Any]:
        """Freshness of live candles and gold. `problems` holds a sentence for each problem."""
        live = self.live
        return {
            "version": _version(),
            "feed": self._settings.tickhouse_feed,
            "namespace": self._settings.tickhouse_namespace,
            "now": self._clock(),
            "kafka": live.connection,
            "topics": live.topics,
            "last_final_end": live.last_final_end or None,
            "symbols": len(live.symbols()),
            "dropped_count": live.dropped_count,
            "gold": self._gold_status(),
            "problems": self._problems(),
        }

    def _gold_status(self) -> dict[str, Any]:
        try:
            gold = self.gold.require()
        except GoldNotBuilt as error:
            return {"state": "absent", "detail": str(error), "built_at": None, "as_of": None}
        times = [moment for row in gold.tables["kpi"] if (moment := unix_ms(row.get("as_of")))]
        return {
            "state": "stuck" if self.gold.problem else "ready",
            "detail": self.gold.problem,
            "built_at": gold.built_at_ms,
            "as_of": max(times, default=None),
        }

    def _problems(self) -> list[str]:
        live = self.live
        found = [live.connection.detail] if live.connection.state == "away" else []
        found += [topic.detail for topic in live.topics.values() if topic.state == "waiting"]
        if self.gold.problem:
            found.append(self.gold.problem)
        if live.dropped_count:
            found.append("There are more symbols than this page can show; the newest are left out.")
        return [sentence for sentence in found if sentence]


def bar_json(bar: Bar) -> dict[str, Any]:
    """Convert a live bar to the JSON of the routes."""
    return {
        "start": bar.start,
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": bar.volume,
        "trade_count": bar.trade_count,
        "session": bar.session,
        "session_date": bar.session_date,
        "status": bar.status,
        "revision": bar.revision,
        "price_source": bar.price_source,
        "source": "live",
    }


def gold_bar(row: dict[str, Any]) -> dict[str, Any] | None:
    """Convert a row of gold_candlestick to the JSON of the routes; None when it lacks a price."""
    prices = {name: number(row[f"candle_{name}"]) for name in ("open", "high", "low", "close")}
    start = unix_ms(row["candle_time"])
    if start is None or None in prices.values():
        return None
    return {
        "start": start,
        **prices,
        "volume": number(row.get("volume")),
        "trade_count": row.get("trade_count"),
        "session": row.get("session"),
        "session_date": str(row.get("session_date")),
        "status": row.get("status"),
        "revision": row.get("revision"),
        "price_source": row.get("price_source"),
        "source": "gold",
    }


def _version() -> str:
    try:
        return version("tickhouse")
    except PackageNotFoundError:
        return "unknown"
