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
    Message,
    RejectionRecord,
    Trades,
    encode,
)
from app.errors import TickhouseError
from app.feeds.live.coverage import Lost
from app.feeds.messages.building import small_enough
from app.feeds.messages.joining import Joiner
from app.feeds.outbox.backlog import Backlog, Numbered
from app.feeds.outbox.reachability import Contact
from app.feeds.outbox.spill_file import Record, SpillFile
from app.feeds.outbox.undeliverable import (
    Verdict,
    Window,
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


class _Refusal(NamedTuple):
    numbered: Numbered
    error: KafkaError


class Publisher:
    """Sends messages and rejections of a source, each to its topic.

    A message that Kafka refuses for good becomes a record of trades-rejected and a gap
    (`take_lost`); what can go on goes on.

    :param spill: the file for what memory (KAFKA_BUFFER_MIB) does not hold, and for what is left at
        the end; what an earlier run left there goes out first.
    :param ready: whether the topics are known to be there; else `begin` has to say so.
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
        self._held: dict[int, Record] = {}
        self._held_bytes = 0
        self._alone: int | None = None
        self._window = Window()
        self._returned: list[Numbered] = []
        self._refusals: list[_Refusal] = []
        self._lost: list[Lost] = []
        self._fatal: KafkaError | None = None
        self._keeping = False
        self._waited: tuple[int, int] | None = None
        self._missing: str | None = None
        self._since_poll = 0
        self.sent: Counter[str] = Counter()
        self.failed = 0
        self._producer = Producer(producer_settings(settings) | {"error_cb": self._trouble})
        self._contact = Contact(self._brokers, self._producer.list_topics)
        if self._backlog:
            log.info("messages that an earlier run kept in %s go out first", spill)

    def last(self) -> int:
        """The number of the last message so far; it is joined with none that comes later."""
        self._add(self._joiner.take())
        return self._backlog.added

    @property
    def settled(self) -> int:
        """The number up to which every message is in Kafka, or was returned by `take_lost`."""
        if self._lost:
            return -1
        waiting = (number for number, _ in (*self._returned, *(r[0] for r in self._refusals)))
        return min((self._backlog.first, *waiting, *self._held)) - 1

    def take_lost(self) -> list[Lost]:
        """What of the feed was found to be lost since this was asked last."""
        self._lost += [
            Lost(None, gap.from_ms or None, gap.to_ms) for gap in self._backlog.take_gaps()
        ]
        lost, self._lost = self._lost, []
        return lost

    @property
    def is_behind(self) -> bool:
        """Whether messages wait for Kafka's client to take them; `settle` is to be called often."""
        return bool(self._backlog or self._returned or self._refusals)

    def begin(self) -> None:
        """The topics are there: send what waits."""
        self._ready = True
        self.settle()

    def offer(self, messages: Iterable[Message | RejectionRecord]) -> None:
        """Take `messages`, behind all earlier ones; `settle` sends them."""
        for message in messages:
            self._add(self._joiner.add(message))

    def settle(self) -> bool:
        """Serve Kafka's client and hand over what waits.

        :returns: whether there is room for more; if not, bring none until there is.
        :raises PublishError: Kafka takes no more messages.
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
        """Hear what Kafka has to say; to be called about each second.

        :raises PublishError: Kafka takes no more messages.
        """
        self._poll(0)
        self.settle()
        if self._waited and self.settled >= self._waited[0]:
            log.info("the %d messages that waited for Kafka are delivered", self._waited[1])
            self._waited = None

    def send(self, messages: Iterable[Message | RejectionRecord]) -> None:
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
        """Force to the disk what went to the file; a thread of its own may do it, then `adopt`.

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
        :raises PublishError: Kafka takes no more messages.
        """
        until_s = time.monotonic() + timeout_s
        self.settle()
        while self._left() and (wait_s := until_s - time.monotonic()) > 0:
            self._poll(min(0.2, wait_s))
            self.settle()
        return self._left()

    def keep(self) -> int:
        """End: store what did not reach Kafka, for the next start, in its order.

        What was on its way may be in Kafka all the same; sent again, it is known by its identity.

        :returns: how many messages are kept.
        :raises PublishError: they cannot be stored.
        """
        self._add(self._joiner.take())
        self._keeping = True
        self._producer.purge()
        until_s = time.monotonic() + _PURGE_S
        while self._held and time.monotonic() < until_s:
            self._producer.poll(0.05)
        undelivered = [*self._returned, *itertools.starmap(Numbered, self._held.items())]
        undelivered += [numbered for numbered, _ in self._refusals]
        try:
            return self._backlog.keep(record for _, record in sorted(undelivered))
        except OSError as error:
            raise PublishError(
                f"{self._left()} messages could not be kept for the next start: {error}. Make room "
                "in TICKHOUSE_DATA_DIR."
            ) from None

    def _left(self) -> int:
        waiting = len(self._joiner) + len(self._backlog) + len(self._returned)
        return waiting + len(self._refusals) + len(self._held)

    def _add(self, messages: Iterable[Message | RejectionRecord]) -> None:
        for message in messages:
            for record in self._records(message):
                self.sent[type(message).__name__] += 1
                self._backlog.add(record)

    def _records(self, message: Message | RejectionRecord) -> Iterable[Record]:
        value = encode(message)
        if isinstance(message, RejectionRecord):
            return (Record(self._rejected, None, value),)
        key = message.symbol.encode()
        if isinstance(message, Trades) and len(value) > MAX_MESSAGE_BYTES:
            return [Record(self._stocks, key, encode(part)) for part in small_enough(message)]
        return (Record(self._stocks, key, value),)

    def _hand_over(self) -> None:
        """Give Kafka's client what waits, as far as it takes it."""
        if not self._ready or self._fatal is not None:
            return
        if self._returned:
            self._backlog.give_back(self._returned)
            self._returned = []
        if self._missing:
            return
        while numbered := self._backlog.peek(not self._held):
            if not self._window.has_room(self._held_bytes, numbered.record):
                return
            if not self._produce(numbered):
                return

    def _produce(self, numbered: Numbered) -> bool:
        """Give Kafka's client a record; whether the next may follow."""
        number, record = numbered
        heard = partial(self._reported, number)
        try:
            self._producer.produce(record.topic, record.value, record.key, on_delivery=heard)
        except BufferError:
            return False
        except KafkaException as error:
            return self._not_taken(numbered, error.args[0])
        self._backlog.pop()
        self._alone = None if self._held else number
        self._held[number] = record
        self._held_bytes += record.size
        return True

    def _not_taken(self, numbered: Numbered, error: KafkaError) -> bool:
        """Kafka's client itself refuses a record; whether the next may follow."""
        topic = numbered.record.topic
        says = verdict(error)
        if says is Verdict.UNSENT:
            if self._missing is None:
                self._missing = topic
                log.error("%s: %s. Messages wait until it is made again.", topic, error.str())
            return False
        if says is Verdict.STOP:
            self._fatal = error
            return False
        self._backlog.pop()
        self._refuse(numbered.record, error)
        return True

    def _poll(self, timeout_s: float) -> None:
        """Let Kafka's client report, and draw the conclusions.

        :raises PublishError: Kafka takes no more messages.
        """
        self._since_poll = 0
        held = len(self._held)
        self._producer.poll(timeout_s)
        if self._refusals:
            self._judge()
        elif held and not self._held:
            self._window.delivered()
        self._ask()
        if self._fatal is not None:
            raise PublishError(self._why_it_ends(self._fatal))

    def _why_it_ends(self, error: KafkaError) -> str:
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

    def _reported(self, number: int, error: KafkaError | None, _: Any) -> None:
        """Kafka's client is done with a message; called while it is polled."""
        record = self._held.pop(number)
        self._held_bytes -= record.size
        if error is None:
            self._answers()
            return
        numbered, says = Numbered(number, record), verdict(error)
        if says is Verdict.STOP and self._fatal is None:
            self._fatal = error
        if says in (Verdict.STOP, Verdict.UNSENT) or self._fatal is not None or self._keeping:
            self._returned.append(numbered)
        else:
            self._refusals.append(_Refusal(numbered, error))

    def _judge(self) -> None:
        """Tell what is refused for good from what was only sent along with it."""
        refusals, self._refusals = self._refusals, []
        if [one.numbered.number for one in refusals] == [self._alone]:
            self._refuse(refusals[0].numbered.record, refusals[0].error)
            return
        self._window.refused(
            sum(one.numbered.record.size for one in refusals),
            any(verdict(one.error) is Verdict.TOO_LARGE for one in refusals),
        )
        self._returned += [one.numbered for one in refusals]

    def _refuse(self, record: Record, error: KafkaError) -> None:
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

    def _trouble(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._contact.lost(error.str())

    def _ask(self) -> None:
        """While there is reason to, look whether Kafka answers, and a missing topic is back."""
        if not (self._contact.in_doubt or self._missing):
            return
        answer = self._contact.ask(self._missing or self._stocks)
        if answer is None or answer.error is not None:
            return
        self._answers()
        if answer.exists and answer.topic == self._missing:
            log.warning("%s is there again", answer.topic)
            self._missing = None

    def _answers(self) -> None:
        """Kafka has answered: it delivered something, or said what it has."""
        if not self._contact.proved():
            return
        if count := self._left():
            self._waited = self.last(), count
            log.warning("Kafka at %s answers again; %d messages wait", self._brokers, count)
        else:
            log.warning("Kafka at %s answers again; no message waited", self._brokers)
