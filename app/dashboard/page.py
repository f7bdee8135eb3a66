"""What the page knows, gathered from its two ways: live candles and the warehouse's gold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from app.dashboard.bar import Bar
from app.dashboard.gold import FileIdentity, GoldNotBuilt, GoldReader
from app.dashboard.live import LiveBook
from app.dashboard.summary import EVERY_SYMBOL, Line, gauges, line_of, number, unix_ms
from app.settings import Settings

RECENT = 50
"""So many closes tell how many decimals a symbol's prices need."""
_Versions = tuple[int, FileIdentity | None]


class Page:
    """Answers every question of the routes; holds no rule of what a candle or a total is.

    :param clock: the present, UNIX ms.
    """

    def __init__(
        self, settings: Settings, book: LiveBook, gold: GoldReader, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self.book = book
        self.gold = gold
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[_Versions, Line | None]] = {}
        self._summary: tuple[_Versions, bytes] | None = None

    def symbols(self) -> list[str]:
        """Symbols with candles or gold, and those this feed was told to follow; sorted."""
        return sorted({*self._with_prices(), *self._followed()})

    def _with_prices(self) -> set[str]:
        gold = self.gold.gold
        return {*self.book.symbols(), *(gold.symbols() if gold else ())}

    def _followed(self) -> tuple[str, ...]:
        """Symbols of a file, a replay's or one that changes, the page learns from their candles."""
        of_a_file = (
            self._settings.tickhouse_feed == "replay"
            or self._settings.stocks_symbols_file is not None
        )
        return () if of_a_file else self._settings.stocks_symbols

    def candles(self, symbol: str, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The last `limit` candles of `symbol`, and the version of the live ones among them.

        Minutes that Kafka no longer holds come from gold.
        """
        bars, live_version = self.book.newest(symbol, limit)
        live = [bar_json(bar) for bar in bars]
        gold = self.gold.gold
        if gold is None or len(live) >= limit:
            return live, live_version
        held = {bar.start for bar in bars}
        found = map(gold_bar, gold.candles(symbol, limit))
        merged = [*(bar for bar in found if bar and bar["start"] not in held), *live]
        return sorted(merged, key=lambda bar: bar["start"])[-limit:], live_version

    def summary(self) -> bytes:
        """The line of every symbol with a price, and the gauges, as JSON.

        May be called from any thread; adding up a day of many symbols takes a while.
        """
        with self._lock:
            return self._summary_now()

    def _summary_now(self) -> bytes:
        key = (self.book.version, self._gold_file())
        if self._summary is None or self._summary[0] != key:
            lines = [line for symbol in sorted(self._with_prices()) if (line := self.line(symbol))]
            gold = self.gold.gold
            found = gauges(lines, gold.row(EVERY_SYMBOL) if gold else None)
            summary = {"lines": lines, "gauges": found, "has_gold": gold is not None}
            self._summary = (key, msgspec.json.encode(summary))
        return self._summary[1]

    def line(self, symbol: str) -> Line | None:
        """The line of `symbol`, if it has a price. May be called from any thread."""
        gold = self.gold.gold
        key = (self.book.series_version(symbol), self._gold_file())
        held = self._lines.get(symbol)
        if held is None or held[0] != key:
            day, live_version = self.book.day(symbol)
            closes = [bar.close for bar in self.book.newest(symbol, RECENT)[0]]
            line = line_of(symbol, day, gold.row(symbol) if gold else None, closes)
            held = self._lines[symbol] = ((live_version, key[1]), line)
        return held[1]

    def _gold_file(self) -> FileIdentity | None:
        gold = self.gold.gold
        return gold.file if gold else None

    def status(self) -> dict[str, Any]:
        """How fresh each way is. `problems` are sentences; none means all is well."""
        book = self.book
        return {
            "version": _version(),
            "feed": self._settings.tickhouse_feed,
            "namespace": self._settings.tickhouse_namespace,
            "now": self._clock(),
            "kafka": book.broker,
            "topics": book.topics,
            "last_final_end": book.last_final_end or None,
            "symbols": len(book.symbols()),
            "turned_away": book.turned_away,
            "gold": self._gold_status(),
            "problems": self._problems(),
        }

    def _gold_status(self) -> dict[str, Any]:
        try:
            gold = self.gold.need()
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
        book = self.book
        found = [book.broker.detail] if book.broker.state == "away" else []
        found += [topic.detail for topic in book.topics.values() if topic.state == "waiting"]
        if self.gold.problem:
            found.append(self.gold.problem)
        if book.turned_away:
            found.append("There are more symbols than this page shows; the newest are left out.")
        return [sentence for sentence in found if sentence]


def bar_json(bar: Bar) -> dict[str, Any]:
    """A live bar as the routes give it."""
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
    """A row of gold_candlestick as the routes give it; None when it lacks a price."""
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
