"""Messages into Kafka: in order, none dropped, waiting when the broker is away."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Producer

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC, Message, Rejected, encode
from app.errors import TickhouseError
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES

QUEUE_MIB = 256
"""What waits for a broker that is away: more than 10 minutes of 1,000 trades a second."""
_QUEUE_MESSAGES = 2_000_000
_POLL_EVERY = 256

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
        "log_level": 0,
    }


class Publisher:
    """Sends messages and rejections of a source, each to its topic.

    :ivar sent: messages handed to Kafka's client, by kind.
    :ivar failed: messages that Kafka refused; each was logged.
    """

    def __init__(self, settings: Settings, queue_mib: int = QUEUE_MIB) -> None:
        self._brokers = settings.kafka_brokers
        self._stocks = settings.named(STOCKS_TOPIC)
        self._rejected = settings.named(REJECTED_TOPIC)
        self._waiting: deque[Message | Rejected] = deque()
        self._fatal: KafkaError | None = None
        self._away = False
        self._since_poll = 0
        self.sent: Counter[str] = Counter()
        self.failed = 0
        self._producer = Producer(
            producer_settings(settings, queue_mib)
            | {"on_delivery": self._refused, "error_cb": self._trouble}
        )

    def offer(self, messages: Iterable[Message | Rejected]) -> bool:
        """Take `messages`, behind all earlier ones.

        :returns: whether there is room; if not, the caller waits, calls `settle` until it is true,
            and brings nothing in between.
        :raises PublishError: Kafka refuses messages for good.
        """
        self._waiting.extend(messages)
        return self.settle()

    def settle(self) -> bool:
        """Serve Kafka's client and hand over what waits; whether all of it is handed over."""
        while self._waiting:
            if not self._hand_over(self._waiting[0]):
                self._poll(0)
                return False
            self._waiting.popleft()
        return True

    def serve(self) -> None:
        """Hear what Kafka has to say; to be called about each second."""
        self._poll(0)
        if self._away and not len(self._producer):
            self._away = False
            log.warning("Kafka answers again; everything that waited is delivered")

    def send(self, messages: Iterable[Message | Rejected]) -> None:
        """Hand over `messages`, waiting while there is no room."""
        for message in messages:
            while not self._hand_over(message):
                self._poll(0.1)
            self._since_poll += 1
            if self._since_poll == _POLL_EVERY:
                self._since_poll = 0
                self._poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered, at most `timeout_s`.

        :returns: how many messages are not.
        """
        until = time.monotonic() + timeout_s
        while not self.settle() and time.monotonic() < until:
            self._poll(0.05)
        left = self._producer.flush(max(0.0, until - time.monotonic()))
        return int(left) + len(self._waiting)

    def _hand_over(self, message: Message | Rejected) -> bool:
        rejected = isinstance(message, Rejected)
        try:
            self._producer.produce(
                self._rejected if rejected else self._stocks,
                encode(message),
                None if isinstance(message, Rejected) else message.symbol.encode(),
            )
        except BufferError:
            return False
        self.sent[type(message).__name__] += 1
        return True

    def _poll(self, timeout_s: float) -> None:
        self._producer.poll(timeout_s)
        if self._fatal is not None:
            raise PublishError(
                f"Kafka at {self._brokers} takes no more messages from this producer: "
                f"{self._fatal.str()}. Start it again."
            )

    def _refused(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
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
