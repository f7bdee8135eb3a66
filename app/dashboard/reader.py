"""Read the candle topics into the page's live candles.

Each topic has a thread and a consumer of its own: `candles-1m` and the rollups are read committed,
`candles-live` uncommitted, so that partial candles show before their transaction ends. No offsets
are committed: every start reads the tail of each topic. One more thread polls the topics' ids, to
detect that Kafka is unavailable or that a topic was recreated.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, REJECTED_TOPIC, ROLLUP_TOPICS, STOCKS_TOPIC
from app.dashboard.live import INTERVAL_OF, ConnectionState, LiveCandles, TopicRecord, TopicStatus
from app.dashboard.rejections import HELD, RecentRejections
from app.errors import TickhouseError
from app.settings import Settings
from app.topics import topic_ids, unreachable

log = logging.getLogger("tickhouse.dashboard")

BATCH = 500
WATCH_INTERVAL_S = 3.0
RETRY_S = 1.0
REQUEST_TIMEOUT_S = 5.0


class Tail(NamedTuple):
    """How a topic is read: `records` is how far before each partition's end reading starts."""

    topic: str
    isolation: str
    records: int


TAILS = (
    Tail(CANDLES_TOPIC, "read_committed", 50_000),
    Tail(LIVE_TOPIC, "read_uncommitted", 5_000),
    *(Tail(topic, "read_committed", 20_000) for topic in ROLLUP_TOPICS.values()),
)

REJECTED_TAIL = Tail(REJECTED_TOPIC, "read_committed", HELD)


class TopicIdTracker:
    """Tracks the ids of the topics, and detects topics that were recreated."""

    def __init__(
        self, settings: Settings, live: LiveCandles, on_recreated: Callable[[set[str]], None]
    ) -> None:
        self._settings = settings
        self._live = live
        self._on_recreated = on_recreated
        self._names = {
            settings.named(topic): topic for topic in (STOCKS_TOPIC, *INTERVAL_OF, REJECTED_TOPIC)
        }
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()

    def poll(self) -> None:
        """Get the current ids from Kafka; call `on_recreated` with topics whose id changed.

        :raises TopicError: Kafka does not answer.
        """
        with self._lock:
            found = topic_ids(self._settings, self._names, timeout_s=REQUEST_TIMEOUT_S)
            self._live.connection = ConnectionState("connected")
            changed = {
                self._names[name]
                for name, topic_id in found.items()
                if self._ids.get(name, topic_id) != topic_id
            }
            self._ids |= found
        if changed:
            log.info("topics recreated: %s", ", ".join(sorted(changed)))
            self._live.begin_incarnation()
            self._on_recreated(changed)


class TopicReader(threading.Thread):
    """Reads one topic; survives broker outages and deleted topics.

    :param apply: takes the records of each batch, on the reader's thread.
    """

    def __init__(
        self,
        settings: Settings,
        tail: Tail,
        live: LiveCandles,
        tracker: TopicIdTracker,
        apply: Callable[[list[TopicRecord]], None],
    ) -> None:
        super().__init__(name=f"read {tail.topic}", daemon=True)
        self._settings = settings
        self._tail = tail
        self._live = live
        self._tracker = tracker
        self._take = apply
        self._state = live.topics.setdefault(tail.topic, TopicStatus())
        self._stopping = threading.Event()
        self._restart = threading.Event()

    def restart(self) -> None:
        """Start over with a new consumer, as the topic was recreated."""
        self._restart.set()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._restart.clear()
            consumer = Consumer(self._config(), logger=log)
            try:
                if self._assign(consumer):
                    self._read(consumer)
            except KafkaException as error:
                self._disconnected(error.args[0])
            except TickhouseError as error:
                self._live.connection = ConnectionState("away", str(error))
            finally:
                consumer.close()
            if not self._stopping.is_set():
                self._stopping.wait(RETRY_S)

    def _config(self) -> dict[str, object]:
        return self._settings.kafka_client() | {
            "group.id": self._settings.named("dashboard"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": self._tail.isolation,
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2_000,
            "error_cb": self._on_error,
            "log_level": 0,
        }

    def _on_error(self, error: KafkaError) -> None:
        """Handle a connection error that librdkafka reports."""
        if error.code() not in (KafkaError._TRANSPORT, KafkaError._RESOLVE):
            # Transport errors are of one connection; _ALL_BROKERS_DOWN follows for the last one.
            self._disconnected(error)

    def _disconnected(self, error: KafkaError) -> None:
        sentence = str(unreachable(self._settings, KafkaException(error)))
        self._live.connection = ConnectionState("away", sentence)

    def _assign(self, consumer: Consumer) -> bool:
        """Assign each partition from its tail; return False while the topic does not exist."""
        name = self._settings.named(self._tail.topic)
        topic = consumer.list_topics(name, timeout=REQUEST_TIMEOUT_S).topics[name]
        if topic.error is not None or not topic.partitions:
            self._wait_for(name, topic.error)
            return False
        self._tracker.poll()  # detects topics recreated before the watch first polls
        starts = []
        for partition in topic.partitions:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(name, partition), timeout=REQUEST_TIMEOUT_S
            )
            start = max(low, high - self._tail.records)
            starts.append(TopicPartition(name, partition, start))
        consumer.assign(starts)
        self._state.state, self._state.detail = "reading", None
        return True

    def _wait_for(self, name: str, error: KafkaError | None) -> None:
        self._state.state = "waiting"
        self._state.detail = f"The topic {name} does not exist yet: `tickhouse candles` creates it."
        if error is not None and error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._state.detail = f"The topic {name} cannot be read: {error.str()}."

    def _read(self, consumer: Consumer) -> None:
        while not (self._restart.is_set() or self._stopping.is_set()):
            first = consumer.poll(0.5)
            if first is None:
                continue
            batch = [first, *consumer.consume(BATCH - 1, timeout=0)]
            if not self._apply(batch):
                return

    def _apply(self, batch: list[Message]) -> bool:
        """Apply a batch to the live candles; return False when the topic is gone."""
        records = []
        for message in batch:
            error = message.error()
            if error is None:
                records.append(TopicRecord(message.value(), message.timestamp()[1]))
            elif error.code() in _GONE:
                self._wait_for(self._settings.named(self._tail.topic), error)
                return False
            else:
                self._disconnected(error)
        if records:
            self._live.connection = ConnectionState("connected")
            self._take(records)
        return True


_GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)


class RecreationWatch(threading.Thread):
    """Polls the topics' ids periodically."""

    def __init__(self, live: LiveCandles, tracker: TopicIdTracker) -> None:
        super().__init__(name="watch topics", daemon=True)
        self._live = live
        self._tracker = tracker
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tracker.poll()
            except TickhouseError as error:
                self._live.connection = ConnectionState("away", str(error))
            self._stopping.wait(WATCH_INTERVAL_S)


class Readers:
    """The threads that read the topics and watch for their recreation."""

    def __init__(self, settings: Settings, live: LiveCandles, rejections: RecentRejections) -> None:
        tracker = TopicIdTracker(settings, live, self._restart_readers)
        takers: dict[str, Callable[[list[TopicRecord]], None]] = {
            tail.topic: partial(live.apply, tail.topic) for tail in TAILS
        }
        takers[REJECTED_TOPIC] = rejections.apply
        self._readers = {
            tail.topic: TopicReader(settings, tail, live, tracker, takers[tail.topic])
            for tail in (*TAILS, REJECTED_TAIL)
        }
        self._watch = RecreationWatch(live, tracker)

    def _restart_readers(self, topics: set[str]) -> None:
        for topic in topics & self._readers.keys():
            self._readers[topic].restart()

    def start(self) -> None:
        for thread in (self._watch, *self._readers.values()):
            thread.start()

    def stop(self) -> None:
        """Stop every thread, and wait up to 3 s for each; they are daemons."""
        threads: list[TopicReader | RecreationWatch] = [self._watch, *self._readers.values()]
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(timeout=3)
