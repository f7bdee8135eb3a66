"""Data of the page, combined from live candles and the warehouse's gold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from app.contracts import CANDLES_TOPIC, Interval
from app.dashboard.bar import Bar
from app.dashboard.gold import FileIdentity, GoldNotBuilt, GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.rejections import ShownRejection
from app.dashboard.shown import ShownCandle, shown_bar, shown_row
from app.dashboard.summary import (
    SymbolSummary,
    class_gauges,
    gauges,
    summarize_symbol,
    unix_ms,
)
from app.feeds.replay.control import ReplayState, read_state, replay_folder
from app.health.monitor import Health
from app.health.stages import format_duration
from app.settings import Settings

MAX_LIVE = 1_500
SPARKLINE_MINUTES = 60
RECENT_CLOSES = 50
"""Number of closes that decide how many decimals a symbol's prices are shown with."""
READER_BEHIND_MS = 80_000
"""How old the newest final minute may be while `candles-1m` has a newer one: the next minute, the
grace, a commit and a check of the health."""
_Versions = tuple[int, FileIdentity | None]


class Page:
    """Provides the data that the routes return; rules of candles and totals live elsewhere.

    :param clock: returns the current time, UNIX ms.
    :param health: returns the newest health of the pipeline, None before the first check.
    :param rejections: takes a limit, returns the newest rejections, newest first.
    """

    def __init__(
        self,
        settings: Settings,
        live: LiveCandles,
        gold: GoldReader,
        clock: Callable[[], int],
        health: Callable[[], Health | None] = lambda: None,
        rejections: Callable[[int], list[ShownRejection]] = lambda limit: [],
    ) -> None:
        self._settings = settings
        self.live = live
        self.gold = gold
        self._clock = clock
        self._health = health
        self.rejections = rejections
        self.replay_folder = replay_folder(settings)
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

    def candles(
        self,
        symbol: str,
        limit: int,
        interval: Interval = "1m",
        before_ms: int | None = None,
    ) -> tuple[list[ShownCandle], int]:
        """The last `limit` candles of `symbol`, and the version of the live ones among them.

        Candles that Kafka no longer holds come from gold.

        :param before_ms: only candles that start before, UNIX ms.
        """
        held = limit if before_ms is None else MAX_LIVE
        bars, live_version = self.live.newest(symbol, held, interval)
        live = self._shown(symbol, interval, bars)
        candles = {c.start: c for c in live if before_ms is None or c.start < before_ms}
        gold = self.gold.gold
        if gold is not None and len(candles) < limit:
            stored = gold.candles(symbol, limit, interval, before_ms)
            candles = {c.start: c for c in map(shown_row, stored) if c} | candles
        return [candles[start] for start in sorted(candles)][-limit:], live_version

    def changes(
        self, symbol: str, interval: Interval, version: int
    ) -> tuple[list[ShownCandle], int]:
        """The live candles of `symbol` that changed after `version`, and their version.

        Of longer intervals the open candle is always among them, as it has no version.
        """
        bars, version = self.live.since(symbol, version, interval)
        return self._shown(symbol, interval, bars), version

    def forming(self, symbol: str, interval: Interval) -> Bar | None:
        """The open bar of an interval longer than a minute."""
        return self.live.forming(symbol, interval) if interval != "1m" else None

    def _shown(self, symbol: str, interval: Interval, bars: list[Bar]) -> list[ShownCandle]:
        """`bars` as candles, with the open one instead of its newest rollup."""
        if forming := self.forming(symbol, interval):
            bars = [*(bar for bar in bars if bar.start != forming.start), forming]
        return [shown_bar(bar, interval) for bar in bars]

    def sparklines(self) -> dict[str, list[float]]:
        """The last `SPARKLINE_MINUTES` closes of each symbol with live candles, oldest first."""
        return {
            symbol: [bar.close for bar in self.live.newest(symbol, SPARKLINE_MINUTES)[0]]
            for symbol in self.live.symbols()
        }

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
            summary = {
                "symbols": symbols,
                "gauges": gauges(symbols),
                "class_gauges": class_gauges(symbols),
                "has_gold": self.gold.gold is not None,
            }
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
            "version": installed_version(),
            "feed": self._settings.tickhouse_feed,
            "namespace": self._settings.tickhouse_namespace,
            "now": self._clock(),
            "kafka": live.connection,
            "topics": live.topics,
            "last_final_end": live.last_final_end or None,
            "symbols": len(live.symbols()),
            "dropped_count": live.dropped_count,
            "gold": self._gold_status(),
            "health": self._health(),
            "replay": self.replay(),
            "problems": self._problems(),
        }

    def replay(self) -> ReplayState | None:
        """The replay that runs and can be steered."""
        if self._settings.tickhouse_feed != "replay":
            return None
        return read_state(self.replay_folder, self._clock())

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
        if self.gold.gold and self.gold.gold.quarantined:
            found.append(quarantine_problem(self.gold.gold.quarantined))
        if live.dropped_count:
            found.append("There are more symbols than this page can show; the newest are left out.")
        if health := self._health():
            found += [self._reader_problem(health)]
            found += [stage.problem for stage in health.stages if stage.name != "kafka"]
        return [sentence for sentence in found if sentence]

    def _reader_problem(self, health: Health) -> str | None:
        """What is wrong when the topic has final candles that this page has not read."""
        newest_ms = max((s.newest_ms or 0 for s in health.stages if s.name == "candles"), default=0)
        read_ms = self.live.last_final_end
        if newest_ms <= read_ms or self._clock() - read_ms < READER_BEHIND_MS:
            return None
        by = f" by {format_duration(newest_ms - read_ms)}" if read_ms else ""
        return (
            f"This page is behind{by}: {self._settings.named(CANDLES_TOPIC)} has final candles "
            "that it has not read. If it does not catch up, restart `tickhouse dashboard`."
        )


def quarantine_problem(rows: list[dict[str, Any]]) -> str:
    """Name the newest row of the archive that gold has set aside, and count the others."""
    newest = rows[0]
    name = " ".join(
        str(newest[column])
        for column in ("dataset", "symbol", "candle_interval", "event_time")
        if newest[column] is not None
    )
    rest = f" {len(rows) - 1:,} more rows are set aside." if len(rows) > 1 else ""
    return (
        f"Gold leaves out a row that breaks the rule {newest['reason']}: {name} "
        f"({newest['content']}).{rest} All of them are in gold_quarantine."
    )


def installed_version() -> str:
    """The version of Tickhouse."""
    try:
        return version("tickhouse")
    except PackageNotFoundError:
        return "unknown"
