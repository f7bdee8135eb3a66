"""Publish messages to Kafka in order, without dropping any, and wait for an unavailable broker."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from app.contracts import (
    MAX_MESSAGE_BYTES,
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    RejectionRecord,
    Trades,
    encode,
)
from app.errors import TickhouseError
from app.feeds.messages.building import small_enough
from app.feeds.messages.coalescing import Coalescer
from app.feeds.messages.outgoing import LostSpan, Outgoing
from app.feeds.outbox.backlog import Backlog, Numbered
from app.feeds.outbox.reachability import BrokerReachability
from app.feeds.outbox.spill_file import SpillFile
from app.feeds.outbox.spill_format import KafkaRecord
from app.feeds.outbox.undeliverable import (
    ErrorClass,
    SendWindow,
    classify,
    lost_spans,
    rejection,
    smaller_parts,
)
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES as MAX_KAFKA_BYTES

CLIENT_QUEUE_MIB = 8
"""Size of the client's queue. The backlog holds the rest, where it can be coalesced and stored."""
_CLIENT_QUEUE_MESSAGES = 20_000
_POLL_EVERY = 256
_PURGE_S = 1.0
_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)

log = logging.getLogger(__name__)


class PublishError(TickhouseError):
    """Kafka accepts no more messages, or has rejected some permanently."""


def producer_settings(settings: Settings) -> dict[str, Any]:
    """Return librdkafka's settings for every source: idempotent, with the common partitioner.

    Messages never time out: they wait in the queue, in order, until the broker is available again.
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
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": 3_600_000,  # a deleted topic may be recreated
        "log_level": 0,
    }


class _FailedDelivery(NamedTuple):
    numbered: Numbered
    error: KafkaError


class Publisher:
    """Sends the messages and rejections of a source, each to its topic.

    A message that Kafka rejects permanently becomes a record of trades-rejected and a lost span
    (`take_lost`); the other messages continue.

    :param spill: the file for messages beyond the memory limit (KAFKA_BUFFER_MIB) and for those
        left at the end. What an earlier run left there is sent first.
    :param ready: whether the topics are known to exist; otherwise call `topics_ready` later.
    :ivar sent: the number of messages by type.
    :ivar failed: the number of messages that Kafka rejected permanently; they are logged.
    :raises SpillError: `spill` is a file of another format, or holds messages of another feed.
    """

    def __init__(self, settings: Settings, spill: Path | None = None, ready: bool = True) -> None:
        self._brokers = settings.kafka_brokers
        self._feed = settings.tickhouse_feed
        self._stocks = settings.named(STOCKS_TOPIC)
        self._rejected = settings.named(REJECTED_TOPIC)
        self._coalescer = Coalescer()
        self._backlog = Backlog(
            settings.kafka_buffer_mib * 1024 * 1024,
            SpillFile(spill, settings.tickhouse_feed) if spill else None,
        )
        self._ready = ready
        self._in_flight: dict[int, KafkaRecord] = {}
        self._in_flight_bytes = 0
        self._sole_in_flight: int | None = None
        self._window = SendWindow()
        self._returned: list[Numbered] = []
        self._failed_deliveries: list[_FailedDelivery] = []
        self._lost: list[LostSpan] = []
        self._fatal: KafkaError | None = None
        self._spilling = False
        self._backlog_at_return: tuple[int, int] | None = None
        self._missing: str | None = None
        self._since_poll = 0
        self.sent: Counter[str] = Counter()
        self.failed = 0
        self._producer = Producer(producer_settings(settings) | {"error_cb": self._on_client_error})
        self._broker = BrokerReachability(self._brokers, self._producer.list_topics)
        if self._backlog:
            log.info("messages that an earlier run left in %s are sent first", spill)

    def last(self) -> int:
        """Return the number of the last message so far; later ones are not coalesced with it."""
        self._add(self._coalescer.take())
        return self._backlog.added

    @property
    def delivered_up_to(self) -> int:
        """The number up to which every message is in Kafka, or was returned by `take_lost`.

        It is -1 while losses wait for `take_lost`.
        """
        if self._lost:
            return -1
        waiting = (
            number for number, _ in (*self._returned, *(r[0] for r in self._failed_deliveries))
        )
        return min((self._backlog.first, *waiting, *self._in_flight)) - 1

    def take_lost(self) -> list[LostSpan]:
        """Return the spans of the feed that were found to be lost since the last call."""
        self._lost += [
            LostSpan(None, unreadable.from_ms or None, unreadable.to_ms)
            for unreadable in self._backlog.take_unreadable()
        ]
        lost, self._lost = self._lost, []
        return lost

    @property
    def is_behind(self) -> bool:
        """Whether messages wait for the client's queue; if so, call `send_pending` frequently."""
        return bool(self._backlog or self._returned or self._failed_deliveries)

    def topics_ready(self) -> None:
        """Start sending, because the topics exist."""
        self._ready = True
        self.send_pending()

    def offer(self, messages: Iterable[Outgoing]) -> None:
        """Append `messages`; `send_pending` sends them."""
        for message in messages:
            self._add(self._coalescer.add(message))

    def send_pending(self) -> bool:
        """Move pending messages into the client's queue.

        :returns: whether there is room for more. If not, add none until there is.
        :raises PublishError: Kafka accepts no more messages.
        """
        self._produce_pending()
        if not self._backlog:
            self._add(self._coalescer.take())
            self._produce_pending()
        self._since_poll += 1
        if self._backlog or self._since_poll >= _POLL_EVERY:
            self._poll(0)
        return self._backlog.has_room

    def serve(self) -> None:
        """Process Kafka's reports. Call it about once a second.

        :raises PublishError: Kafka accepts no more messages.
        """
        self._poll(0)
        self.send_pending()
        if self._backlog_at_return and self.delivered_up_to >= self._backlog_at_return[0]:
            log.info(
                "the %d messages that waited for Kafka are delivered", self._backlog_at_return[1]
            )
            self._backlog_at_return = None

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send `messages`, blocking while there is no room.

        :raises PublishError: Kafka accepts no more messages.
        """
        self.offer(messages)
        self.send_pending()
        while self.is_behind:
            self._poll(0.1)
            self.send_pending()

    @property
    def must_sync(self) -> bool:
        """Whether the spill file holds data that is not on disk yet."""
        return self._backlog.must_sync

    def sync(self) -> None:
        """Force the spill file to disk, possibly in another thread; call `finish_sync` afterwards.

        :raises OSError: the disk reports an error.
        """
        self._backlog.sync()

    def finish_sync(self) -> None:
        """Install the file that `sync` rewrote, if it did.

        :raises OSError: there is no space for it.
        """
        self._backlog.finish_sync()

    def flush(self, timeout_s: float) -> int:
        """Wait until all messages are delivered, at most `timeout_s`.

        :returns: the number of undelivered messages.
        :raises PublishError: Kafka accepts no more messages.
        """
        until_s = time.monotonic() + timeout_s
        self.send_pending()
        while self._left() and (wait_s := until_s - time.monotonic()) > 0:
            self._poll(min(0.2, wait_s))
            self.send_pending()
        return self._left()

    def spill_all(self) -> int:
        """Write undelivered messages to the spill file for the next start, in order.

        Messages that were in flight may have reached Kafka. When they are sent again, they have the
        same identity.

        :returns: the number of messages in the file.
        :raises PublishError: they cannot be stored.
        """
        self._add(self._coalescer.take())
        self._spilling = True
        self._producer.purge()
        until_s = time.monotonic() + _PURGE_S
        while self._in_flight and time.monotonic() < until_s:
            self._producer.poll(0.05)
        undelivered = [*self._returned, *itertools.starmap(Numbered, self._in_flight.items())]
        undelivered += [numbered for numbered, _ in self._failed_deliveries]
        try:
            return self._backlog.spill_all(record for _, record in sorted(undelivered))
        except OSError as error:
            raise PublishError(
                f"{self._left()} messages could not be kept for the next start: {error}. Make room "
                "in TICKHOUSE_DATA_DIR."
            ) from None

    def _left(self) -> int:
        waiting = len(self._coalescer) + len(self._backlog) + len(self._returned)
        return waiting + len(self._failed_deliveries) + len(self._in_flight)

    def _add(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            for record in self._records(message):
                self.sent[type(message).__name__] += 1
                self._backlog.add(record)

    def _records(self, message: Outgoing) -> Iterable[KafkaRecord]:
        value = encode(message)
        if isinstance(message, RejectionRecord):
            return (KafkaRecord(self._rejected, None, value),)
        key = message.symbol.encode()
        if isinstance(message, Trades) and len(value) > MAX_MESSAGE_BYTES:
            return [KafkaRecord(self._stocks, key, encode(part)) for part in small_enough(message)]
        return (KafkaRecord(self._stocks, key, value),)

    def _produce_pending(self) -> None:
        """Fill the client's queue from the backlog."""
        if not self._ready or self._fatal is not None:
            return
        if self._returned:
            self._backlog.requeue(self._returned)
            self._returned = []
        if self._missing:
            return
        while numbered := self._backlog.peek(not self._in_flight):
            if not self._window.has_room(self._in_flight_bytes, numbered.record):
                return
            if not self._produce(numbered):
                return

    def _produce(self, numbered: Numbered) -> bool:
        """Add a record to the client's queue; return whether the next may follow."""
        number, record = numbered
        on_delivery = partial(self._on_delivery, number)
        try:
            self._producer.produce(record.topic, record.value, record.key, on_delivery=on_delivery)
        except BufferError:
            return False
        except KafkaException as error:
            return self._on_produce_error(numbered, error.args[0])
        self._backlog.pop()
        self._sole_in_flight = None if self._in_flight else number
        self._in_flight[number] = record
        self._in_flight_bytes += record.size
        return True

    def _on_produce_error(self, numbered: Numbered, error: KafkaError) -> bool:
        """Handle a record that the client rejects; return whether the next may follow."""
        topic = numbered.record.topic
        outcome = classify(error)
        if outcome is ErrorClass.RETRIABLE:
            if self._missing is None:
                self._missing = topic
                log.error("%s: %s. Messages wait until it is created again.", topic, error.str())
            return False
        if outcome is ErrorClass.FATAL:
            self._fatal = error
            return False
        self._backlog.pop()
        self._give_up(numbered.record, error)
        return True

    def _poll(self, timeout_s: float) -> None:
        """Poll the client for delivery reports, and act on them.

        :raises PublishError: Kafka accepts no more messages.
        """
        self._since_poll = 0
        held = len(self._in_flight)
        self._producer.poll(timeout_s)
        if self._failed_deliveries:
            self._handle_failures()
        elif held and not self._in_flight:
            self._window.delivered()
        self._probe()
        if self._fatal is not None:
            raise PublishError(self._fatal_text(self._fatal))

    def _fatal_text(self, error: KafkaError) -> str:
        if error.code() in _NOT_ALLOWED:
            return (
                f"Kafka at {self._brokers} does not let this producer write: {error.str()}. Give "
                f"its user the right to write to {self._stocks} and {self._rejected}, and start it "
                "again."
            )
        return (
            f"Kafka at {self._brokers} accepts no more messages from this producer: {error.str()}. "
            "Start it again."
        )

    def _on_delivery(self, number: int, error: KafkaError | None, _: Any) -> None:
        """Handle the delivery report of a message; called while the client is polled."""
        record = self._in_flight.pop(number)
        self._in_flight_bytes -= record.size
        if error is None:
            self._on_answer()
            return
        numbered, outcome = Numbered(number, record), classify(error)
        if outcome is ErrorClass.FATAL and self._fatal is None:
            self._fatal = error
        if (
            outcome in (ErrorClass.FATAL, ErrorClass.RETRIABLE)
            or self._fatal is not None
            or self._spilling
        ):
            self._returned.append(numbered)
        else:
            self._failed_deliveries.append(_FailedDelivery(numbered, error))

    def _handle_failures(self) -> None:
        """Separate messages that are rejected permanently from others of their batch."""
        failed, self._failed_deliveries = self._failed_deliveries, []
        if [failure.numbered.number for failure in failed] == [self._sole_in_flight]:
            self._give_up(failed[0].numbered.record, failed[0].error)
            return
        self._window.rejected(
            sum(failure.numbered.record.size for failure in failed),
            any(classify(failure.error) is ErrorClass.TOO_LARGE for failure in failed),
        )
        self._returned += [failure.numbered for failure in failed]

    def _give_up(self, record: KafkaRecord, error: KafkaError) -> None:
        """Handle a message that Kafka rejects permanently: split or record it."""
        if smaller := smaller_parts(record, error, self._feed):
            for part in smaller:
                self._backlog.add(part)
            return
        self.failed += 1
        if self.failed <= 10 or self.failed % 1_000 == 0:
            log.error(
                "Kafka rejects message %d for good, of %d bytes for %s: %s",
                self.failed,
                len(record.value),
                record.topic,
                error.str(),
            )
        if record.topic != self._rejected:
            self._lost += lost_spans(record, self._feed)
            self._add([rejection(record, error.str(), self._feed)])

    def _on_client_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker.disconnected(error.str())

    def _probe(self) -> None:
        """If in doubt, check whether Kafka answers and whether a missing topic exists again."""
        if not (self._broker.in_doubt or self._missing):
            return
        answer = self._broker.probe(self._missing or self._stocks)
        if answer is None or answer.error is not None:
            return
        self._on_answer()
        if answer.exists and answer.topic == self._missing:
            log.warning("%s exists again", answer.topic)
            self._missing = None

    def _on_answer(self) -> None:
        """Record that Kafka is available: it delivered a message or answered a request."""
        if not self._broker.answered():
            return
        if count := self._left():
            self._backlog_at_return = self.last(), count
            log.warning("Kafka at %s answers again; %d messages wait", self._brokers, count)
        else:
            log.warning("Kafka at %s answers again; no message waited", self._brokers)
