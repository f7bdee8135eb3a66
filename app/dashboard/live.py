"""Live candles of the page: a thread-safe candle store with the state of its Kafka readers.

Reader threads add candles; request handlers, on the event loop, read them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, ROLLUP_TOPICS, Interval, decode_candle
from app.dashboard.bar import Bar, UnusableCandle, bar_of
from app.dashboard.day import DayTotals
from app.dashboard.forming import OPEN_MINUTES, forming_bar
from app.dashboard.store import CandleStore

log = logging.getLogger("tickhouse.dashboard")

INTERVAL_OF: dict[str, Interval] = {
    CANDLES_TOPIC: "1m",
    LIVE_TOPIC: "1m",
    **{topic: interval for interval, topic in ROLLUP_TOPICS.items()},
}
"""The candle topics, and the interval of the candles in each."""
CAPACITY: dict[Interval, int] = {"1m": 1_500, "5m": 600, "15m": 500, "1h": 500, "1d": 400}
"""How many bars of each symbol are held."""

TopicState = Literal["connecting", "waiting", "reading"]


class TopicStatus(Struct):
    """Progress of reading one topic."""

    state: TopicState = "connecting"
    detail: str | None = None
    newest_ms: int | None = None
    """Kafka's timestamp of the newest record read, UNIX ms."""
    unusable: int = 0
    last_unusable: str | None = None


class ConnectionState(Struct):
    """Whether Kafka answers; `detail` explains it when it does not."""

    state: Literal["connecting", "connected", "away"] = "connecting"
    detail: str | None = None


class TopicRecord(NamedTuple):
    """A record of a topic: its value and Kafka's timestamp, UNIX ms."""

    value: bytes | None
    timestamp_ms: int


class LiveCandles:
    """A `CandleStore` per interval, shared between threads; the state of topics and connection.

    :param stores: by interval; by default empty ones with `CAPACITY`.
    """

    def __init__(
        self,
        feed: str,
        topics: Iterable[str] = tuple(INTERVAL_OF),
        stores: Mapping[Interval, CandleStore] | None = None,
    ) -> None:
        self._feed = feed
        self._stores = stores or {
            interval: CandleStore(capacity) for interval, capacity in CAPACITY.items()
        }
        self._minutes = self._stores["1m"]
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.topics = {topic: TopicStatus() for topic in topics}
        self.connection = ConnectionState()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on the reader's thread, after each batch that changed a candle."""
        self._listeners.append(listener)

    def apply(self, topic: str, records: Iterable[TopicRecord]) -> None:
        """Apply records of `topic`; count and skip those that are not candles of this page."""
        status, interval = self.topics[topic], INTERVAL_OF[topic]
        bars = [found for record in records if (found := self._bar(status, record, interval))]
        store = self._stores[interval]
        with self._lock:
            changes = [store.apply(symbol, bar) for symbol, bar in bars]
        if any(changes):
            for listener in self._listeners:
                listener()

    def _bar(
        self, status: TopicStatus, record: TopicRecord, interval: Interval
    ) -> tuple[str, Bar] | None:
        status.newest_ms = max(status.newest_ms or 0, record.timestamp_ms)
        try:
            if record.value is None:
                raise UnusableCandle("a record without a value")
            candle = decode_candle(record.value)
            return candle.symbol, bar_of(candle, self._feed, interval)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnusableCandle) as error:
            status.unusable += 1
            status.last_unusable = str(error)
            if str(status.unusable).strip("0") == "1":  # 1, 10, 100, ...
                log.warning("%d records skipped, the last: %s", status.unusable, error)
            return None

    def begin_incarnation(self) -> None:
        """Handle recreated topics: their offsets and revisions start over."""
        with self._lock:
            for store in self._stores.values():
                store.begin_incarnation()

    @property
    def version(self) -> int:
        """Version of the one-minute candles."""
        return self._minutes.version

    @property
    def dropped_count(self) -> int:
        return self._minutes.dropped_count

    @property
    def last_final_end(self) -> int:
        return self._minutes.last_final_end

    def symbols(self) -> list[str]:
        """The symbols that have candles, sorted."""
        with self._lock:
            return self._minutes.symbols()

    def newest(self, symbol: str, limit: int, interval: Interval = "1m") -> tuple[list[Bar], int]:
        """The last `limit` bars of `symbol`, oldest first, and their version."""
        with self._lock:
            series = self._stores[interval].series(symbol)
            return (series.newest(limit), series.version) if series else ([], 0)

    def since(self, symbol: str, version: int, interval: Interval = "1m") -> tuple[list[Bar], int]:
        """The bars of `symbol` that changed after `version`, and their version."""
        with self._lock:
            series = self._stores[interval].series(symbol)
            return (series.since(version), series.version) if series else ([], version)

    def holds_since(self, symbol: str, version: int, interval: Interval = "1m") -> bool:
        """Whether every bar of `symbol` that changed after `version` is held."""
        with self._lock:
            series = self._stores[interval].series(symbol)
            return series.evicted <= version <= series.version if series else version == 0

    def forming(self, symbol: str, interval: Interval) -> Bar | None:
        """The open bar of a longer interval, with the minutes that are not final yet."""
        with self._lock:
            rollups = self._stores[interval].series(symbol)
            minutes = self._minutes.series(symbol)
            if minutes is None:
                return None
            newest = rollups.newest(1) if rollups else []
            return forming_bar(
                newest[0] if newest else None, minutes.newest(OPEN_MINUTES), interval
            )

    def day(self, symbol: str) -> tuple[DayTotals | None, int]:
        """`symbol`'s newest trading day, and its version."""
        with self._lock:
            series = self._minutes.series(symbol)
            return (series.day(), series.version) if series else (None, 0)

    def series_version(self, symbol: str, interval: Interval = "1m") -> int:
        """The version of `symbol`'s last change."""
        with self._lock:
            series = self._stores[interval].series(symbol)
            return series.version if series else 0
