"""Live candles of the page: a thread-safe candle store with the state of its Kafka readers.

Reader threads add candles; request handlers, on the event loop, read them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from app.contracts import decode_candle
from app.dashboard.bar import Bar, UnusableCandle, bar_of
from app.dashboard.day import DayTotals
from app.dashboard.store import CandleStore

log = logging.getLogger("tickhouse.dashboard")

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


class CandleRecord(NamedTuple):
    """A message of a candle topic: its value and Kafka's timestamp, UNIX ms."""

    value: bytes | None
    timestamp_ms: int


class LiveCandles:
    """A `CandleStore` shared between threads, with the state of its topics and connection."""

    def __init__(self, feed: str, topics: Iterable[str], store: CandleStore | None = None) -> None:
        self._feed = feed
        self._store = store or CandleStore()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.topics = {topic: TopicStatus() for topic in topics}
        self.connection = ConnectionState()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on the reader's thread, after each batch that changed a candle."""
        self._listeners.append(listener)

    def apply(self, topic: str, records: Iterable[CandleRecord]) -> None:
        """Apply records of `topic`; count and skip those that are not candles of this page."""
        status = self.topics[topic]
        bars = [found for record in records if (found := self._bar(status, record))]
        with self._lock:
            changes = [self._store.apply(symbol, bar) for symbol, bar in bars]
        if any(changes):
            for listener in self._listeners:
                listener()

    def _bar(self, status: TopicStatus, record: CandleRecord) -> tuple[str, Bar] | None:
        status.newest_ms = max(status.newest_ms or 0, record.timestamp_ms)
        try:
            if record.value is None:
                raise UnusableCandle("a record without a value")
            candle = decode_candle(record.value)
            return candle.symbol, bar_of(candle, self._feed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnusableCandle) as error:
            status.unusable += 1
            status.last_unusable = str(error)
            if str(status.unusable).strip("0") == "1":  # 1, 10, 100, ...
                log.warning("%d records skipped, the last: %s", status.unusable, error)
            return None

    def begin_incarnation(self) -> None:
        """Handle recreated topics: their offsets and revisions start over."""
        with self._lock:
            self._store.begin_incarnation()

    @property
    def version(self) -> int:
        return self._store.version

    @property
    def dropped_count(self) -> int:
        return self._store.dropped_count

    @property
    def last_final_end(self) -> int:
        return self._store.last_final_end

    def symbols(self) -> list[str]:
        """The symbols that have candles, sorted."""
        with self._lock:
            return self._store.symbols()

    def newest(self, symbol: str, limit: int) -> tuple[list[Bar], int]:
        """The last `limit` bars of `symbol`, oldest first, and their version."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.newest(limit), series.version) if series else ([], 0)

    def since(self, symbol: str, version: int) -> tuple[list[Bar], int]:
        """The bars of `symbol` that changed after `version`, and their version."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.since(version), series.version) if series else ([], version)

    def day(self, symbol: str) -> tuple[DayTotals | None, int]:
        """`symbol`'s newest trading day, and its version."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.day(), series.version) if series else (None, 0)

    def series_version(self, symbol: str) -> int:
        """The version of `symbol`'s last change."""
        with self._lock:
            series = self._store.series(symbol)
            return series.version if series else 0
