"""The live candles of the page: the store, who feeds it, and who waits for its changes.

Reader threads put candles in; requests, on the event loop, take them out.
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
from app.dashboard.day import Day
from app.dashboard.store import CandleStore

log = logging.getLogger("tickhouse.dashboard")

TopicState = Literal["connecting", "waiting", "reading"]


class Topic(Struct):
    """How the reading of one topic stands."""

    state: TopicState = "connecting"
    detail: str | None = None
    newest_ms: int | None = None
    """Kafka's timestamp of the newest record read, UNIX ms."""
    unusable: int = 0
    last_unusable: str | None = None


class Broker(Struct):
    """Whether Kafka answers; `detail` is the sentence when it does not."""

    state: Literal["connecting", "connected", "away"] = "connecting"
    detail: str | None = None


class Record(NamedTuple):
    """A message of a candle topic: its value and Kafka's timestamp, UNIX ms."""

    value: bytes | None
    timestamp_ms: int


class LiveBook:
    """A `CandleStore` that threads share, with the state of what feeds it."""

    def __init__(self, feed: str, topics: Iterable[str], store: CandleStore | None = None) -> None:
        self._feed = feed
        self._store = store or CandleStore()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.topics = {topic: Topic() for topic in topics}
        self.broker = Broker()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on the reader's thread, after each batch that changed a candle."""
        self._listeners.append(listener)

    def take(self, topic: str, records: Iterable[Record]) -> None:
        """Apply records of `topic`; what is no candle of this page is counted and skipped."""
        state = self.topics[topic]
        bars = [found for record in records if (found := self._bar(state, record))]
        with self._lock:
            changes = [self._store.apply(symbol, bar) for symbol, bar in bars]
        if any(changes):
            for listener in self._listeners:
                listener()

    def _bar(self, state: Topic, record: Record) -> tuple[str, Bar] | None:
        state.newest_ms = max(state.newest_ms or 0, record.timestamp_ms)
        try:
            if record.value is None:
                raise UnusableCandle("a record without a value")
            candle = decode_candle(record.value)
            return candle.symbol, bar_of(candle, self._feed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnusableCandle) as error:
            state.unusable += 1
            state.last_unusable = str(error)
            if str(state.unusable).strip("0") == "1":  # 1, 10, 100, ...
                log.warning("%d records skipped, the last: %s", state.unusable, error)
            return None

    def begin_life(self) -> None:
        """The topics were made again."""
        with self._lock:
            self._store.begin_life()

    @property
    def version(self) -> int:
        return self._store.version

    @property
    def turned_away(self) -> int:
        return self._store.turned_away

    @property
    def last_final_end(self) -> int:
        return self._store.last_final_end

    def symbols(self) -> list[str]:
        """The symbols that have candles, sorted."""
        with self._lock:
            return self._store.symbols()

    def newest(self, symbol: str, limit: int) -> tuple[list[Bar], int]:
        """The last `limit` bars of `symbol`, oldest first, and the version they are of."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.newest(limit), series.version) if series else ([], 0)

    def since(self, symbol: str, version: int) -> tuple[list[Bar], int]:
        """The bars of `symbol` that changed after `version`, and the version they are of."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.since(version), series.version) if series else ([], version)

    def day(self, symbol: str) -> tuple[Day | None, int]:
        """`symbol`'s newest trading day, and the version it is of."""
        with self._lock:
            series = self._store.series(symbol)
            return (series.day(), series.version) if series else (None, 0)

    def series_version(self, symbol: str) -> int:
        """The version of `symbol`'s last change."""
        with self._lock:
            series = self._store.series(symbol)
            return series.version if series else 0
