"""Messages into Kafka: in order, none dropped, waiting when the broker is away."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC, Message, Rejected, encode
from app.errors import TickhouseError
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES

QUEUE_MIB = 256
"""What waits for a broker that is away: more than 10 minutes of 1,000 trades a second."""
_QUEUE_MESSAGES = 2_000_000
_POLL_EVERY = 256
WAITING_MESSAGES = 100_000
"""Beyond Kafka's own queue, so that the socket is read on when a topic is gone for a while."""
_LOOK_S = 1.0
_LOOK_EVERY_S = 2.0
_TOPIC_GONE = (
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

log = logging.getLogger(__name__)


class PublishError(TickhouseError):
    """Kafka refuses messages for good."""


def producer_settings(settings: Settings, queue_mib: int = QUEUE_MIB) -> dict[str, Any]:
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
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "queue.buffering.max.kbytes": queue_mib * 1024,
        "queue.buffering.max.messages": _QUEUE_MESSAGES,
        "delivery.report.only.error": True,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": 3_600_000,  # a topic that is deleted is made again
        "log_level": 0,
    }


class _Record(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes


class Publisher:
    """Sends messages and rejections of a source, each to its topic.

    :ivar sent: messages taken, by kind.
    :ivar failed: messages that Kafka refused for good; each was logged.
    """

    def __init__(self, settings: Settings, queue_mib: int = QUEUE_MIB) -> None:
        self._brokers = settings.kafka_brokers
        self._stocks = settings.named(STOCKS_TOPIC)
        self._rejected = settings.named(REJECTED_TOPIC)
        self._waiting: deque[_Record] = deque()
        self._returned: list[_Record] = []
        self._fatal: KafkaError | None = None
        self._away = False
        self._missing: str | None = None
        self._look_at_s = 0.0
        self._since_poll = 0
        self.sent: Counter[str] = Counter()
        self.failed = 0
        self._producer = Producer(
            producer_settings(settings, queue_mib)
            | {"on_delivery": self._refused, "error_cb": self._trouble}
        )

    def offer(self, messages: Iterable[Message | Rejected]) -> bool:
        """Take `messages`, behind all earlier ones.

        :returns: whether there is room for more; if not, bring none until `settle` says so.
        :raises PublishError: Kafka refuses messages for good.
        """
        for message in messages:
            self.sent[type(message).__name__] += 1
            self._waiting.append(self._record(message))
        return self.settle()

    def settle(self) -> bool:
        """Serve Kafka's client and hand over what waits; whether there is room for more."""
        self._hand_over()
        self._since_poll += 1
        if self._waiting or self._since_poll >= _POLL_EVERY:
            self._poll(0)
        return len(self._waiting) < WAITING_MESSAGES

    def serve(self) -> None:
        """Hear what Kafka has to say; to be called about each second."""
        self._poll(0)
        self.settle()
        if self._away and not self._waiting and not len(self._producer):
            self._away = False
            log.warning("Kafka answers again; everything that waited is delivered")

    def send(self, messages: Iterable[Message | Rejected]) -> None:
        """Hand over `messages`, waiting while there is no room."""
        self.offer(messages)
        while self._waiting:
            self._poll(0.1)
            self.settle()

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered, at most `timeout_s`.

        :returns: how many messages are not.
        """
        until_s = time.monotonic() + timeout_s
        while (left := self._left()) and time.monotonic() < until_s:
            self._producer.flush(min(0.2, until_s - time.monotonic()))
            self.settle()
        return left and self._left()

    def _left(self) -> int:
        return len(self._producer) + len(self._waiting) + len(self._returned)

    def _record(self, message: Message | Rejected) -> _Record:
        if isinstance(message, Rejected):
            return _Record(self._rejected, None, encode(message))
        return _Record(self._stocks, message.symbol.encode(), encode(message))

    def _hand_over(self) -> None:
        """Give Kafka's client what waits, as far as it takes it."""
        if self._returned:
            self._waiting.extendleft(reversed(self._returned))
            self._returned.clear()
        if self._missing and not self._is_there(self._missing):
            return
        while self._waiting:
            topic, key, value = self._waiting[0]
            try:
                self._producer.produce(topic, value, key)
            except BufferError:
                return
            except KafkaException as error:
                self._no_topic(error.args[0], topic)
                return
            self._waiting.popleft()

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

    def _refused(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            return
        if error.code() in _TOPIC_GONE:
            self._returned.append(_Record(message.topic(), message.key(), message.value()))
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
