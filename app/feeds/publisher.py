"""Messages into Kafka: in order, none dropped, waiting when the broker is away."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from app.contracts import (
    MAX_MESSAGE_BYTES,
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    Message,
    Rejected,
    Trades,
    encode,
)
from app.errors import TickhouseError
from app.feeds.backlog import Backlog
from app.feeds.joining import Joiner
from app.feeds.messages import small_enough
from app.feeds.spill import Record, SpillFile
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES as MAX_KAFKA_BYTES

CLIENT_QUEUE_MIB = 8
"""What Kafka's client holds; the rest waits in the backlog, where it can be joined and stored."""
_CLIENT_QUEUE_MESSAGES = 20_000
_POLL_EVERY = 256
_LOOK_S = 1.0
_LOOK_EVERY_S = 2.0
_PURGE_S = 1.0
_TOPIC_GONE = (
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
_PURGED = (KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE)

log = logging.getLogger(__name__)


class PublishError(TickhouseError):
    """Kafka refuses messages for good."""


def producer_settings(settings: Settings) -> dict[str, Any]:
    """librdkafka's settings of every source: idempotent, partitioned as every other producer's.

    Messages never time out: they wait in the queue until the broker is back, in their order.
    """
    return settings.kafka_client() | {
        "client.id": "tickhouse-feed",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "partitioner": "murmur2",
        "linger.ms": 2,
        "message.timeout.ms": 0,
        "message.max.bytes": MAX_KAFKA_BYTES,
        "queue.buffering.max.kbytes": CLIENT_QUEUE_MIB * 1024,
        "queue.buffering.max.messages": _CLIENT_QUEUE_MESSAGES,
        "delivery.report.only.error": True,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": 3_600_000,  # a topic that is deleted is made again
        "log_level": 0,
    }


class Publisher:
    """Sends messages and rejections of a source, each to its topic.

    :param spill: the file for what memory (KAFKA_BUFFER_MIB) does not hold, and for what is left at
        the end; what an earlier run left there goes out first.
    :param ready: whether the topics are known to be there; else `begin` has to say so.
    :ivar sent: messages made, by kind.
    :ivar failed: messages that Kafka refused for good; each was logged.
    """

    def __init__(self, settings: Settings, spill: Path | None = None, ready: bool = True) -> None:
        self._brokers = settings.kafka_brokers
        self._stocks = settings.named(STOCKS_TOPIC)
        self._rejected = settings.named(REJECTED_TOPIC)
        self._joiner = Joiner()
        self._backlog = Backlog(
            settings.kafka_buffer_mib * 1024 * 1024, SpillFile(spill) if spill else None
        )
        self._ready = ready
        self._handed_over = 0
        self._returned: list[tuple[int, Record]] = []
        self._fatal: KafkaError | None = None
        self._away = False
        self._missing: str | None = None
        self._look_at_s = 0.0
        self._since_poll = 0
        self._made = 0
        self.sent: Counter[str] = Counter()
        self.failed = 0
        self._producer = Producer(producer_settings(settings) | {"error_cb": self._trouble})
        if self._backlog:
            log.info("messages that an earlier run kept in %s go out first", spill)

    @property
    def made(self) -> int:
        """How many messages there were so far, those that may still be joined included."""
        return self._made + len(self._joiner)

    @property
    def delivered(self) -> int:
        """How many of `made` are in Kafka: about the first ones."""
        return self.made - self._left()

    @property
    def is_behind(self) -> bool:
        """Whether messages wait for Kafka's client to take them; `settle` is to be called often."""
        return bool(self._backlog or self._returned)

    def begin(self) -> None:
        """The topics are there: send what waits."""
        self._ready = True
        self.settle()

    def offer(self, messages: Iterable[Message | Rejected]) -> None:
        """Take `messages`, behind all earlier ones; `settle` sends them."""
        for message in messages:
            self._add(self._joiner.add(message))

    def settle(self) -> bool:
        """Serve Kafka's client and hand over what waits.

        :returns: whether there is room for more; if not, bring none until there is.
        :raises PublishError: Kafka refuses messages for good.
        """
        self._hand_over()
        if not self._backlog:
            self._add(self._joiner.take())
            self._hand_over()
        self._since_poll += 1
        if self._backlog or self._since_poll >= _POLL_EVERY:
            self._poll(0)
        return self._backlog.has_room

    def serve(self) -> None:
        """Hear what Kafka has to say; to be called about each second."""
        self._poll(0)
        self.settle()
        if self._away and not self._left():
            self._away = False
            log.warning("Kafka answers again; everything that waited is delivered")

    def send(self, messages: Iterable[Message | Rejected]) -> None:
        """Hand over `messages`, waiting while there is no room."""
        self.offer(messages)
        self.settle()
        while self.is_behind:
            self._poll(0.1)
            self.settle()

    @property
    def must_sync(self) -> bool:
        """Whether what went to the file is not on the disk yet."""
        return self._backlog.must_sync

    def sync(self) -> None:
        """Force to the disk what went to the file; a thread of its own may do it.

        :raises OSError: the disk refuses.
        """
        self._backlog.sync()

    def adopt(self) -> None:
        """Put in place what `sync` had to write anew.

        :raises OSError: there is no room for it.
        """
        self._backlog.adopt()

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered, at most `timeout_s`.

        :returns: how many messages are not.
        """
        until_s = time.monotonic() + timeout_s
        self.settle()
        while self._left() and (wait_s := until_s - time.monotonic()) > 0:
            self._producer.flush(min(0.2, wait_s))
            self.settle()
        return self._left()

    def keep(self) -> int:
        """End: store what did not reach Kafka, for the next start, in its order.

        What was on its way may be in Kafka all the same; sent again, it is known by its identity.

        :returns: how many messages are kept.
        :raises PublishError: they cannot be stored.
        """
        self._add(self._joiner.take())
        self._producer.purge()
        until_s = time.monotonic() + _PURGE_S
        while len(self._producer) and time.monotonic() < until_s:
            self._producer.poll(0.05)
        try:
            return self._backlog.keep(self._in_order())
        except OSError as error:
            raise PublishError(
                f"{self._left()} messages could not be kept for the next start: {error}. Make room "
                "in TICKHOUSE_DATA_DIR."
            ) from None

    def _left(self) -> int:
        return len(self._producer) + len(self._joiner) + len(self._backlog) + len(self._returned)

    def _add(self, messages: Iterable[Message | Rejected]) -> None:
        for message in messages:
            for record in self._records(message):
                self._made += 1
                self.sent[type(message).__name__] += 1
                self._backlog.add(record)

    def _records(self, message: Message | Rejected) -> Iterable[Record]:
        value = encode(message)
        if isinstance(message, Rejected):
            return (Record(self._rejected, None, value),)
        key = message.symbol.encode()
        if isinstance(message, Trades) and len(value) > MAX_MESSAGE_BYTES:
            return [Record(self._stocks, key, encode(part)) for part in small_enough(message)]
        return (Record(self._stocks, key, value),)

    def _hand_over(self) -> None:
        """Give Kafka's client what waits, as far as it takes it."""
        if not self._ready:
            return
        if self._returned:
            self._backlog.give_back(self._in_order())
            self._returned.clear()
        if self._missing and not self._is_there(self._missing):
            return
        while record := self._backlog.peek(not len(self._producer)):
            self._handed_over += 1
            heard = partial(self._refused, self._handed_over)
            try:
                self._producer.produce(record.topic, record.value, record.key, on_delivery=heard)
            except BufferError:
                return
            except KafkaException as error:
                self._no_topic(error.args[0], record.topic)
                return
            self._backlog.pop()

    def _no_topic(self, error: KafkaError, topic: str) -> None:
        if error.code() not in _TOPIC_GONE:
            self._fatal = error
        elif self._missing is None:
            self._missing = topic
            log.error("%s: %s. Messages wait until it is made again.", topic, error.str())

    def _is_there(self, topic: str) -> bool:
        """Look whether a topic was made again; Kafka's client would not look by itself."""
        if time.monotonic() < self._look_at_s:
            return False
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        try:
            known = self._producer.list_topics(topic, timeout=_LOOK_S).topics[topic]
        except KafkaException as error:
            log.debug("no answer about %s: %s", topic, error)
            return False
        if known.error is not None or not known.partitions:
            return False
        log.warning("%s is there again", topic)
        self._missing = None
        return True

    def _poll(self, timeout_s: float) -> None:
        self._since_poll = 0
        self._producer.poll(timeout_s)
        if self._fatal is not None:
            raise PublishError(
                f"Kafka at {self._brokers} takes no more messages from this producer: "
                f"{self._fatal.str()}. Start it again."
            )

    def _in_order(self) -> list[Record]:
        """What Kafka's client returned; it returns the newest first, then what it was sending."""
        return [record for _, record in sorted(self._returned)]

    def _refused(self, number: int, error: KafkaError | None, message: Any) -> None:
        if error is None:
            return
        if error.code() in _TOPIC_GONE + _PURGED or self._fatal is not None:
            record = Record(message.topic(), message.key(), message.value())
            self._returned.append((number, record))
            return
        self.failed += 1
        if self.failed <= 10 or self.failed % 1_000 == 0:
            log.error(
                "Kafka refused message %d for %s: %s", self.failed, message.topic(), error.str()
            )

    def _trouble(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            log.warning(
                "Kafka at %s does not answer; messages wait until it does (%s)",
                self._brokers,
                error.str(),
            )
