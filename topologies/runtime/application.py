"""A Quix application that knows which incarnation of its topics it reads, and stops when it lost them.

A topic that is deleted and recreated starts at offset 0. Nobody tells its readers: measured on
Kafka 4.1 with librdkafka 2.12, a running consumer goes on at its old position as soon as the new
topic is that long, and its commit of an old offset is taken for the new topic. So each committed
offset carries the id of the topic it belongs to, as the commit's metadata.

A worker that sleeps past its session (a laptop's lid, a long pause) loses its partitions; others
may have read on from the last commit meanwhile. Quix drops the partitions' stores but keeps the
open checkpoint. At least once it commits that later (measured with quixstreams 3.28); exactly-once
the transaction's time-out mostly prevents it, and this does so always.

A signal to stop that comes between Quix's taking of the signals and the start of its loop (up to a
second, while the transactional id is claimed) is forgotten by Quix, and one that comes after the
loop would go to an application that has ended. This one hears both.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from quixstreams import Application
from quixstreams.exceptions import QuixException
from quixstreams.internal_consumer import InternalConsumer
from quixstreams.internal_producer import InternalProducer
from quixstreams.models import Row, Topic
from quixstreams.models.serializers import MessageField, SerializationContext
from quixstreams.state.metadata import CHANGELOG_CF_MESSAGE_HEADER

from app.settings import Settings
from app.topics import topic_ids
from topologies.runtime.quix_version import check_quix

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 15.0
FLUSH_SOON_S = 0.001
_NO_CONTEXT = SerializationContext("", MessageField.VALUE)
"""The serializers of candles and of bytes do not look at it."""


class AssignmentLostError(QuixException):
    """Partitions went to another worker before this one could commit: it must begin anew."""


class TopicIncarnations:
    """The ids of the topics whose partitions this worker holds."""

    def __init__(self, settings: Settings) -> None:
        self.assignments = 0
        self._settings = settings
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._ids: dict[str, str] = {}

    def begin(self, topics: Iterable[str]) -> None:
        """Read the ids of `topics`, whose partitions are being assigned."""
        self._ids = dict(self.present(topics))
        self.assignments += 1

    def id_of(self, topic: str) -> str:
        """The id that `topic` had when its partitions were assigned."""
        return self._ids.get(topic, "")

    def present(self, topics: Iterable[str]) -> Mapping[str, str]:
        """The ids that `topics` have now."""
        return topic_ids(self._settings, sorted(set(topics)), ASK_TIMEOUT_S, self._admin)

    def stamped(self, offsets: Iterable[TopicPartition]) -> list[TopicPartition]:
        """`offsets` to commit, each with the id of its topic's incarnation."""
        return [
            TopicPartition(tp.topic, tp.partition, tp.offset, self.id_of(tp.topic))
            for tp in offsets
        ]


class IncarnationConsumer(InternalConsumer):
    """Quix's consumer, whose committed offsets say which incarnation of the topic they belong to."""

    incarnations: TopicIncarnations
    before_assign: Callable[[], None]
    before_poll: Callable[[], None]
    _failure: Exception | None = None
    """Of a rebalance. Raised by `poll`: raised in the callback it would break the close that
    follows, as librdkafka revokes once more and Quix has forgotten the partitions."""

    def poll(self, timeout: float | None = None) -> Any:
        """
        :raises AssignmentLostError: partitions were lost. What was read of them must neither be
            committed nor kept, and Quix would do both.
        :raises Exception: what the commit failed of when partitions were revoked.
        """
        self.before_poll()
        message = super().poll(timeout)
        if self._failure is not None:
            raise self._failure
        return message

    def poll_now(self) -> Any:
        """What `poll` would return without waiting; nothing is called before it."""
        message = self._consumer.poll(0)
        if self._failure is not None:
            raise self._failure
        return message

    def subscribe(
        self,
        topics: list[Any],
        on_assign: Any = None,
        on_revoke: Any = None,
        on_lost: Any = None,
    ) -> None:
        def assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            if partitions:
                self.before_assign()
                self.incarnations.begin(partition.topic for partition in partitions)
                self._set_start_offsets(partitions)
            on_assign(consumer, partitions)

        def revoke(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                on_revoke(consumer, partitions)
            except Exception as error:
                logger.warning("what was read of revoked partitions is not committed: %s", error)
                self._failure = error

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            on_lost(consumer, partitions)
            self._failure = AssignmentLostError("its partitions were given to another worker")

        super().subscribe(topics, on_assign=assign, on_revoke=revoke, on_lost=lost)

    def committed(
        self, partitions: list[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """
        :raises KafkaException: of one of `partitions` it is not known, which is not the same as
            none: from its beginning it would be read again.
        """
        found = super().committed(partitions, timeout)
        for partition in found:
            if partition.error:
                raise KafkaException(partition.error)
        return found

    def commit(self, message: Any = None, offsets: Any = None, asynchronous: bool = True) -> Any:
        stamped = self.incarnations.stamped(offsets or ())
        return super().commit(message=message, offsets=stamped, asynchronous=asynchronous)

    def _set_start_offsets(self, partitions: list[TopicPartition]) -> None:
        """Say where each of `partitions` begins: behind what of its topic's incarnation is committed.

        librdkafka would ask for that itself and begin when it is told. Quix pauses changelogs right
        after the assignment, and of a beginning and a pause that meet one is lost (librdkafka's
        issue 5591). A worker was seen, once, to read its changelog as if it were input. What
        begins at a given offset has begun before the assignment returns.
        """
        asked = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
        committed = {
            (tp.topic, tp.partition): tp for tp in self.committed(asked, timeout=ASK_TIMEOUT_S)
        }
        for partition in partitions:
            known = committed[partition.topic, partition.partition]
            if known.offset >= 0 and known.metadata == self.incarnations.id_of(partition.topic):
                partition.offset = known.offset
                continue
            partition.offset = 0  # where that is gone, `auto.offset.reset`: the earliest there is
            if known.offset >= 0:
                logger.warning(
                    "%s[%d]: the committed offset %d is of another incarnation of the topic and is "
                    "discarded; reading from the beginning",
                    partition.topic,
                    partition.partition,
                    known.offset,
                )


class IncarnationProducer(InternalProducer):
    """Quix's producer; offsets that it commits in transactions say which incarnation they belong to."""

    incarnations: TopicIncarnations
    _lingers = False

    def produce_row(
        self,
        row: Row,
        topic: Topic,
        key: Any = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """
        :param key: bytes.
        """
        value: bytes = topic._value_serializer(row.value, _NO_CONTEXT)  # type: ignore[assignment]
        self.send(topic.name, value, key, -1 if partition is None else partition, timestamp or 0)

    def send(
        self, topic: str, value: bytes, key: bytes | None, partition: int = -1, timestamp: int = 0
    ) -> None:
        """Send a record without a delivery report of its own, a call back into Python each.

        The transaction's commit fails when any of its records did.

        :param partition: -1: that of the key.
        :param timestamp: UNIX ms; 0: now.
        """
        try:
            self._producer._producer.produce(
                topic, value, key, partition=partition, timestamp=timestamp
            )
        except BufferError:  # Quix waits for room
            self._producer.produce(topic, value, key, partition=partition, timestamp=timestamp)
        self._lingers = True

    def add_to_transaction(self, changelog: tuple[str, int]) -> None:
        """Bring a changelog's partition into the transaction, before a commit waits for that.

        Kafka asks twice for a partition's first record in a transaction: the client adds it, the
        leader verifies it. What is sent deletes a key that no state has.

        :param changelog: topic and partition.
        """
        topic, partition = changelog
        headers = {CHANGELOG_CF_MESSAGE_HEADER: "default"}
        with suppress(BufferError):  # the state's own records will open it
            self._producer._producer.produce(
                topic, None, b"added-to-transaction", partition=partition, headers=headers
            )

    def flush_soon(self) -> None:
        """Send now what waits for `linger.ms`; until Kafka has it, or for a millisecond."""
        if self._lingers:
            self._lingers = False
            self.flush(FLUSH_SOON_S)

    def commit_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float | None = None
    ) -> None:
        super().commit_transaction(self.incarnations.stamped(positions), group_metadata, timeout)


class IncarnationApplication(Application):
    """A Quix application that reads each incarnation of its topics from its own committed offset.

    :param incarnations: told of each assignment.
    :param before_assign: called before partitions are assigned.
    :raises QuixVersionError: another Quix Streams is installed than this is written for.
    """

    transactional_producer: type[IncarnationProducer] = IncarnationProducer
    """What writes in transactions; others write by an `IncarnationProducer`."""

    def __init__(
        self,
        *args: Any,
        incarnations: TopicIncarnations,
        before_assign: Callable[[], None] = lambda: None,
        **kwargs: Any,
    ) -> None:
        check_quix()
        self._incarnations = incarnations
        self._before_assign = before_assign
        self.stop_requested = False
        """By a signal, or by its owner; not by an error."""
        super().__init__(*args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run until told to stop; SIGINT and SIGTERM are the process's own again afterwards."""
        with own_signals():
            return super().run(*args, **kwargs)

    def stop(self, fail: bool = False) -> None:
        """Stop, also when the loop has yet to begin."""
        self.stop_requested = self.stop_requested or not fail
        super().stop(fail)

    def _stop_if_requested(self) -> None:
        if self.stop_requested:
            super().stop()

    def _get_internal_consumer(
        self, on_error: Any = None, extra_config_overrides: dict[str, Any] | None = None
    ) -> IncarnationConsumer:
        config = self._config
        consumer = IncarnationConsumer(
            broker_address=config.broker_address,
            consumer_group=config.consumer_group,
            auto_offset_reset=config.auto_offset_reset,
            auto_commit_enable=False,
            max_partition_buffer_size=config.max_partition_buffer_size,
            extra_config={**config.consumer_extra_config, **(extra_config_overrides or {})},
            on_error=on_error,
        )
        consumer.incarnations = self._incarnations
        consumer.before_assign = self._before_assign
        consumer.before_poll = self._stop_if_requested
        return consumer

    def _get_internal_producer(
        self, on_error: Any = None, transactional: bool | None = None
    ) -> InternalProducer:
        if not (self._config.exactly_once if transactional is None else transactional):
            return super()._get_internal_producer(on_error, transactional)
        return self._incarnation_producer(on_error)

    def _incarnation_producer(
        self, on_error: Any, transactional: bool = True
    ) -> IncarnationProducer:
        config = self._config
        made = self.transactional_producer if transactional else IncarnationProducer
        producer = made(
            broker_address=config.broker_address,
            extra_config=config.producer_extra_config,
            flush_timeout=config.flush_timeout,
            transactional=transactional,
            on_error=on_error,
        )
        producer.incarnations = self._incarnations
        return producer


@contextmanager
def own_signals() -> Iterator[None]:
    """Quix takes SIGINT and SIGTERM while it runs; give them back afterwards."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
