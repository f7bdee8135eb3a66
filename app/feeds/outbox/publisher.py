"""Messages into Kafka: in order, none dropped, waiting when the broker is away."""

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
    Rejected,
    Trades,
    encode,
)
from app.errors import TickhouseError
from app.feeds.messages.building import small_enough
from app.feeds.messages.joining import Joiner
from app.feeds.messages.outgoing import LostSpan, Outgoing
from app.feeds.outbox.backlog import Backlog, Numbered
from app.feeds.outbox.reachability import BrokerReachability
from app.feeds.outbox.spill_file import KafkaRecord, SpillFile
from app.feeds.outbox.undeliverable import (
    SendWindow,
    Verdict,
    lost_with,
    rejection,
    smaller_parts,
    verdict,
)
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES as MAX_KAFKA_BYTES

CLIENT_QUEUE_MIB = 8
"""What Kafka's client holds; the rest waits in the backlog, where it can be joined and stored."""
_CLIENT_QUEUE_MESSAGES = 20_000
_POLL_EVERY = 256
_PURGE_S = 1.0
_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)

log = logging.getLogger(__name__)


class PublishError(TickhouseError):
    """Kafka takes no more messages, or has refused some for good."""


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
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": 3_600_000,  # a topic that is deleted is made again
        "log_level": 0,
    }


class _FailedDelivery(NamedTuple):
    numbered: Numbered
    error: KafkaError


class Publisher:
    """Sends messages and rejections of a source, each to its topic.

    A message that Kafka refuses for good becomes a record of trades-rejected and a unreadable
    (`take_lost`); what can go on goes on.

    :param spill: the file for what memory (KAFKA_BUFFER_MIB) does not hold, and for what is left at
        the end; what an earlier run left there goes out first.
    :param ready: whether the topics are known to be there; else `topics_ready` has to say so.
    :ivar sent: messages made, by kind.
    :ivar failed: messages that Kafka refused for good; each was logged.
    :raises SpillError: `spill` is no such file.
    """

    def __init__(self, settings: Settings, spill: Path | None = None, ready: bool = True) -> None:
        self._brokers = settings.kafka_brokers
        self._feed = settings.tickhouse_feed
        self._stocks = settings.named(STOCKS_TOPIC)
        self._rejected = settings.named(REJECTED_TOPIC)
        self._joiner = Joiner()
        self._backlog = Backlog(
            settings.kafka_buffer_mib * 1024 * 1024, SpillFile(spill) if spill else None
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
            log.info("messages that an earlier run kept in %s go out first", spill)

    def last(self) -> int:
        """The number of the last message so far; it is joined with none that comes later."""
        self._add(self._joiner.take())
        return self._backlog.added

    @property
    def delivered_up_to(self) -> int:
        """The number up to which every message is in Kafka, or was returned by `take_lost`."""
        if self._lost:
            return -1
        waiting = (
            number for number, _ in (*self._returned, *(r[0] for r in self._failed_deliveries))
        )
        return min((self._backlog.first, *waiting, *self._in_flight)) - 1

    def take_lost(self) -> list[LostSpan]:
        """What of the feed was found to be lost since this was asked last."""
        self._lost += [
            LostSpan(None, unreadable.from_ms or None, unreadable.to_ms)
            for unreadable in self._backlog.take_unreadable()
        ]
        lost, self._lost = self._lost, []
        return lost

    @property
    def is_behind(self) -> bool:
        """Whether messages wait for Kafka's client to take them; `send_pending` is to be called often."""
        return bool(self._backlog or self._returned or self._failed_deliveries)

    def topics_ready(self) -> None:
        """The topics are there: send what waits."""
        self._ready = True
        self.send_pending()

    def offer(self, messages: Iterable[Outgoing]) -> None:
        """Take `messages`, behind all earlier ones; `send_pending` sends them."""
        for message in messages:
            self._add(self._joiner.add(message))

    def send_pending(self) -> bool:
        """Serve Kafka's client and hand over what waits.

        :returns: whether there is room for more; if not, bring none until there is.
        :raises PublishError: Kafka takes no more messages.
        """
        self._produce_pending()
        if not self._backlog:
            self._add(self._joiner.take())
            self._produce_pending()
        self._since_poll += 1
        if self._backlog or self._since_poll >= _POLL_EVERY:
            self._poll(0)
        return self._backlog.has_room

    def serve(self) -> None:
        """Hear what Kafka has to say; to be called about each second.

        :raises PublishError: Kafka takes no more messages.
        """
        self._poll(0)
        self.send_pending()
        if self._backlog_at_return and self.delivered_up_to >= self._backlog_at_return[0]:
            log.info(
                "the %d messages that waited for Kafka are delivered", self._backlog_at_return[1]
            )
            self._backlog_at_return = None

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Hand over `messages`, waiting while there is no room."""
        self.offer(messages)
        self.send_pending()
        while self.is_behind:
            self._poll(0.1)
            self.send_pending()

    @property
    def must_sync(self) -> bool:
        """Whether what went to the file is not on the disk yet."""
        return self._backlog.must_sync

    def sync(self) -> None:
        """Force to the disk what went to the file; a thread of its own may do it, then `finish_sync`.

        :raises OSError: the disk refuses.
        """
        self._backlog.sync()

    def finish_sync(self) -> None:
        """Put in place what `sync` had to write anew.

        :raises OSError: there is no room for it.
        """
        self._backlog.finish_sync()

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered, at most `timeout_s`.

        :returns: how many messages are not.
        :raises PublishError: Kafka takes no more messages.
        """
        until_s = time.monotonic() + timeout_s
        self.send_pending()
        while self._left() and (wait_s := until_s - time.monotonic()) > 0:
            self._poll(min(0.2, wait_s))
            self.send_pending()
        return self._left()

    def spill_all(self) -> int:
        """End: store what did not reach Kafka, for the next start, in its order.

        What was on its way may be in Kafka all the same; sent again, it is known by its identity.

        :returns: how many messages are kept.
        :raises PublishError: they cannot be stored.
        """
        self._add(self._joiner.take())
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
        waiting = len(self._joiner) + len(self._backlog) + len(self._returned)
        return waiting + len(self._failed_deliveries) + len(self._in_flight)

    def _add(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            for record in self._records(message):
                self.sent[type(message).__name__] += 1
                self._backlog.add(record)

    def _records(self, message: Outgoing) -> Iterable[KafkaRecord]:
        value = encode(message)
        if isinstance(message, Rejected):
            return (KafkaRecord(self._rejected, None, value),)
        key = message.symbol.encode()
        if isinstance(message, Trades) and len(value) > MAX_MESSAGE_BYTES:
            return [KafkaRecord(self._stocks, key, encode(part)) for part in small_enough(message)]
        return (KafkaRecord(self._stocks, key, value),)

    def _produce_pending(self) -> None:
        """Give Kafka's client what waits, as far as it takes it."""
        if not self._ready or self._fatal is not None:
            return
        if self._returned:
            self._backlog.give_back(self._returned)
            self._returned = []
        if self._missing:
            return
        while numbered := self._backlog.peek(not self._in_flight):
            if not self._window.has_room(self._in_flight_bytes, numbered.record):
                return
            if not self._produce(numbered):
                return

    def _produce(self, numbered: Numbered) -> bool:
        """Give Kafka's client a record; whether the next may follow."""
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
        """Kafka's client itself refuses a record; whether the next may follow."""
        topic = numbered.record.topic
        outcome = verdict(error)
        if outcome is Verdict.UNSENT:
            if self._missing is None:
                self._missing = topic
                log.error("%s: %s. Messages wait until it is made again.", topic, error.str())
            return False
        if outcome is Verdict.STOP:
            self._fatal = error
            return False
        self._backlog.pop()
        self._give_up(numbered.record, error)
        return True

    def _poll(self, timeout_s: float) -> None:
        """Let Kafka's client report, and draw the conclusions.

        :raises PublishError: Kafka takes no more messages.
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
            f"Kafka at {self._brokers} takes no more messages from this producer: {error.str()}. "
            "Start it again."
        )

    def _on_delivery(self, number: int, error: KafkaError | None, _: Any) -> None:
        """Kafka's client is done with a message; called while it is polled."""
        record = self._in_flight.pop(number)
        self._in_flight_bytes -= record.size
        if error is None:
            self._on_answer()
            return
        numbered, outcome = Numbered(number, record), verdict(error)
        if outcome is Verdict.STOP and self._fatal is None:
            self._fatal = error
        if outcome in (Verdict.STOP, Verdict.UNSENT) or self._fatal is not None or self._spilling:
            self._returned.append(numbered)
        else:
            self._failed_deliveries.append(_FailedDelivery(numbered, error))

    def _handle_failures(self) -> None:
        """Tell what is refused for good from what was only sent along with it."""
        failed, self._failed_deliveries = self._failed_deliveries, []
        if [one.numbered.number for one in failed] == [self._sole_in_flight]:
            self._give_up(failed[0].numbered.record, failed[0].error)
            return
        self._window.refused(
            sum(one.numbered.record.size for one in failed),
            any(verdict(one.error) is Verdict.TOO_LARGE for one in failed),
        )
        self._returned += [one.numbered for one in failed]

    def _give_up(self, record: KafkaRecord, error: KafkaError) -> None:
        """Kafka refuses a message for good: put that on record, and go on."""
        if smaller := smaller_parts(record, error, self._feed):
            for part in smaller:
                self._backlog.add(part)
            return
        self.failed += 1
        if self.failed <= 10 or self.failed % 1_000 == 0:
            log.error(
                "Kafka refuses message %d for good, of %d bytes for %s: %s",
                self.failed,
                len(record.value),
                record.topic,
                error.str(),
            )
        if record.topic != self._rejected:
            self._lost += lost_with(record, self._feed)
            self._add([rejection(record, error.str(), self._feed)])

    def _on_client_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker.lost(error.str())

    def _probe(self) -> None:
        """While there is reason to, look whether Kafka answers, and a missing topic is back."""
        if not (self._broker.in_doubt or self._missing):
            return
        answer = self._broker.ask(self._missing or self._stocks)
        if answer is None or answer.error is not None:
            return
        self._on_answer()
        if answer.exists and answer.topic == self._missing:
            log.warning("%s is there again", answer.topic)
            self._missing = None

    def _on_answer(self) -> None:
        """Kafka has answered: it delivered something, or said what it has."""
        if not self._broker.proved():
            return
        if count := self._left():
            self._backlog_at_return = self.last(), count
            log.warning("Kafka at %s answers again; %d messages wait", self._brokers, count)
        else:
            log.warning("Kafka at %s answers again; no message waited", self._brokers)
