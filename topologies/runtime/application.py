"""A Quix application that detects recreated topics, lost partitions and early stop signals.

**Recreated topics.** A topic that is deleted and recreated starts at offset 0, and its consumers
are not notified. Measured on Kafka 4.1 with librdkafka 2.12: a running consumer continues at its
old position as soon as the new topic is that long, and its commit of an old offset is accepted for
the new topic. So each committed offset carries the id of its topic in the commit's metadata.

**Lost partitions.** A worker that is suspended for longer than its session (a closed laptop, a long
pause) loses its partitions, and other workers may have read on from the last commit. Quix drops
the stores of the partitions but keeps the open checkpoint. At-least-once, it commits that
checkpoint later (measured with quixstreams 3.28); exactly-once, the transaction's timeout prevents
it in most cases. This application never commits it.

**Stop signals.** Quix loses a signal that arrives after it has installed its handlers and before
its loop starts (up to a second, while the transactional id is claimed), and its handlers stay
installed after the loop has ended. This application honours the first and removes the handlers.
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

REQUEST_TIMEOUT_S = 15.0
FLUSH_SOON_S = 0.001
_NO_CONTEXT = SerializationContext("", MessageField.VALUE)
"""Not read by the serializers in use, those of candles and of bytes."""


class AssignmentLostError(QuixException):
    """Partitions were assigned to another worker before this one committed; it must restart."""


class TopicIncarnations:
    """The ids of the topics whose partitions are assigned to this worker."""

    def __init__(self, settings: Settings) -> None:
        self.assignments = 0
        self._settings = settings
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._ids: dict[str, str] = {}

    def refresh(self, topics: Iterable[str]) -> None:
        """Read the ids of `topics`, whose partitions are being assigned."""
        self._ids = dict(self.current_ids(topics))
        self.assignments += 1

    def id_of(self, topic: str) -> str:
        """The id that `topic` had when its partitions were assigned."""
        return self._ids.get(topic, "")

    def current_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        """The ids that `topics` have now."""
        return topic_ids(self._settings, sorted(set(topics)), REQUEST_TIMEOUT_S, self._admin)

    def with_ids(self, offsets: Iterable[TopicPartition]) -> list[TopicPartition]:
        """`offsets` to commit, each with the id of its topic as metadata."""
        return [
            TopicPartition(tp.topic, tp.partition, tp.offset, self.id_of(tp.topic))
            for tp in offsets
        ]


class FailureKeepingConsumer(Consumer):  # type: ignore[misc]
    """A Kafka consumer that keeps the error of a rebalance callback instead of raising it.

    confluent-kafka calls further callbacks while an error is being raised, and each of them fails
    with SystemError (confluent-kafka-python#729). Raised during a close, in which librdkafka
    revokes partitions that Quix no longer knows, the error would break the close.

    :ivar failure: the error; to be raised after each `poll`.
    """

    failure: Exception | None = None

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        kept = {name: self._keeping_failure(callback) for name, callback in callbacks.items()}
        super().subscribe(topics, **kept)

    def _keeping_failure(self, callback: Callable[..., None]) -> Callable[..., None]:
        def call(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                callback(consumer, partitions)
            except Exception as error:
                logger.warning("a rebalance failed: %s", error.__cause__ or error)
                self.failure = error

        return call


class IncarnationConsumer(InternalConsumer):
    """A Quix consumer that commits offsets with the id of the topic's incarnation."""

    incarnations: TopicIncarnations
    before_assign: Callable[[], None]
    before_poll: Callable[[], None]

    @property
    def _consumer(self) -> FailureKeepingConsumer:
        if self._inner_consumer is None:
            self._inner_consumer = FailureKeepingConsumer(self._consumer_config)
        return self._inner_consumer

    def poll(self, timeout: float | None = None) -> Any:
        """Poll one message, as Quix does.

        :raises AssignmentLostError: partitions were lost. What was read from them must be neither
            committed nor kept, and Quix would do both.
        :raises Exception: the error of a rebalance callback, such as that of the commit when
            partitions were revoked.
        """
        self.before_poll()
        message = super().poll(timeout)
        self._raise_failure()
        return message

    def poll_now(self) -> Any:
        """Poll one message without waiting and without calling `before_poll`."""
        message = self._consumer.poll(0)
        self._raise_failure()
        return message

    def _raise_failure(self) -> None:
        if self._consumer.failure is not None:
            raise self._consumer.failure

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
                self.incarnations.refresh(partition.topic for partition in partitions)
                self._set_start_offsets(partitions)
            on_assign(consumer, partitions)

        def revoke(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                on_revoke(consumer, partitions)
            except Exception as error:
                logger.warning("messages of revoked partitions are not committed: %s", error)
                self._consumer.failure = error

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            on_lost(consumer, partitions)
            raise AssignmentLostError("its partitions were given to another worker")

        super().subscribe(topics, on_assign=assign, on_revoke=revoke, on_lost=lost)

    def committed(
        self, partitions: list[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """Return the committed offsets of `partitions`.

        :raises KafkaException: that of one partition is unknown. Without this error it would be
            taken for none committed, and the partition would be read from its beginning again.
        """
        found = super().committed(partitions, timeout)
        for partition in found:
            if partition.error:
                raise KafkaException(partition.error)
        return found

    def commit(self, message: Any = None, offsets: Any = None, asynchronous: bool = True) -> Any:
        with_ids = self.incarnations.with_ids(offsets or ())
        return super().commit(message=message, offsets=with_ids, asynchronous=asynchronous)

    def _set_start_offsets(self, partitions: list[TopicPartition]) -> None:
        """Set the start offset of each partition: the one committed for the topic's incarnation.

        Without an offset librdkafka requests the committed one itself and starts fetching later.
        Quix pauses changelogs right after the assignment, and when such a start and a pause
        coincide, the pause can be lost (librdkafka issue 5591): once, a worker was seen to read its
        changelog as input. With an offset, fetching has started before the assignment returns.
        """
        asked = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
        committed = {
            (tp.topic, tp.partition): tp for tp in self.committed(asked, timeout=REQUEST_TIMEOUT_S)
        }
        for partition in partitions:
            known = committed[partition.topic, partition.partition]
            if known.offset >= 0 and known.metadata == self.incarnations.id_of(partition.topic):
                partition.offset = known.offset
                continue
            partition.offset = 0  # if it no longer exists, `auto.offset.reset`: the earliest
            if known.offset >= 0:
                logger.warning(
                    "%s[%d]: the committed offset %d is of another incarnation of the topic and is "
                    "discarded; reading from the beginning",
                    partition.topic,
                    partition.partition,
                    known.offset,
                )


class IncarnationProducer(InternalProducer):
    """A Quix producer that commits offsets with the id of the topic's incarnation."""

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
        """Produce a row without copying its headers; the key is bytes."""
        value: bytes = topic._value_serializer(row.value, _NO_CONTEXT)  # type: ignore[assignment]
        self.send(topic.name, value, key, -1 if partition is None else partition, timestamp or 0)

    def send(
        self, topic: str, value: bytes, key: bytes | None, partition: int = -1, timestamp: int = 0
    ) -> None:
        """Send a record without a delivery report, which would be a Python callback per record.

        The transaction's commit fails if the delivery of any of its records failed.

        :param partition: -1 for the partition of the key.
        :param timestamp: UNIX ms; 0 for now.
        """
        try:
            self._producer._producer.produce(
                topic, value, key, partition=partition, timestamp=timestamp
            )
        except BufferError:  # the queue is full; Quix waits for it
            self._producer.produce(topic, value, key, partition=partition, timestamp=timestamp)
        self._lingers = True

    def add_to_transaction(self, changelog: tuple[str, int]) -> None:
        """Add a changelog partition to the transaction early, so that the commit need not wait.

        The first record of a partition in a transaction takes two more requests: the client adds
        the partition, its leader verifies it. The record sent here is a tombstone of an unused key.

        :param changelog: topic and partition.
        """
        topic, partition = changelog
        headers = {CHANGELOG_CF_MESSAGE_HEADER: "default"}
        with suppress(BufferError):  # then the records of the state add it
            self._producer._producer.produce(
                topic, None, b"added-to-transaction", partition=partition, headers=headers
            )

    def flush_soon(self) -> None:
        """Send records that wait for `linger.ms`; wait for their delivery at most a millisecond."""
        if self._lingers:
            self._lingers = False
            self.flush(FLUSH_SOON_S)

    def commit_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float | None = None
    ) -> None:
        super().commit_transaction(self.incarnations.with_ids(positions), group_metadata, timeout)


class IncarnationApplication(Application):
    """A Quix application whose committed offsets are valid for one incarnation of a topic.

    :param incarnations: refreshed at each assignment.
    :param before_assign: called before partitions are assigned.
    :raises QuixVersionError: the installed version of Quix Streams is not the supported one.
    """

    transactional_producer: type[IncarnationProducer] = IncarnationProducer
    """The class of its transactional producer; other producers are `IncarnationProducer`s."""

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
        """By a signal or a call of `stop`, not by an error."""
        super().__init__(*args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run until stopped, then restore the handlers of SIGINT and SIGTERM."""
        with restored_signals():
            return super().run(*args, **kwargs)

    def stop(self, fail: bool = False) -> None:
        """Stop, even if the loop has not started yet."""
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
def restored_signals() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which Quix replaces while it runs."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
