"""A Quix consumer that commits offsets with topic ids and raises errors of rebalance callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from quixstreams.exceptions import QuixException
from quixstreams.internal_consumer import InternalConsumer

from topologies.runtime.topic_incarnations import REQUEST_TIMEOUT_S, TopicIncarnations

logger = logging.getLogger(__name__)


class AssignmentLostError(QuixException):
    """Partitions were assigned to another worker before this one committed; restart this worker."""


class FailureKeepingConsumer(Consumer):  # type: ignore[misc]
    """A Kafka consumer that keeps the error of a rebalance callback instead of raising it.

    confluent-kafka calls further callbacks while an error is being raised, and each of them fails
    with SystemError (confluent-kafka-python#729). An error raised during a close, in which
    librdkafka revokes partitions that Quix no longer knows, would break the close.

    :ivar failure: the error, which the caller raises after each `poll`.
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

        :raises AssignmentLostError: partitions were lost. Messages read from them must be neither
            committed nor kept; Quix would do both.
        :raises Exception: the error of a rebalance callback, such as that of the commit when
            partitions were revoked.
        """
        self.before_poll()
        message = super().poll(timeout)
        if self._consumer.failure is not None:
            raise self._consumer.failure
        return message

    def poll_now(self) -> Any:
        """Poll one message without waiting and without calling `before_poll`."""
        consumer = self._consumer
        message = consumer.poll(0)
        if consumer.failure is not None:
            raise consumer.failure
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

        :raises KafkaException: the offset of a partition could not be read. Quix would treat it as
            not committed and read the partition from the beginning again.
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
        """Set the start offset of each partition to the one committed for the topic's incarnation.

        Without a start offset, librdkafka requests the committed offset itself and starts fetching
        later. Quix pauses changelogs right after the assignment. If that start and a pause
        coincide, the pause can be lost (librdkafka issue 5591); a worker was once observed to read
        its changelog as input. With a start offset, fetching has started before the assignment
        returns.
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
            partition.offset = 0  # if it no longer exists, `auto.offset.reset` applies
            if known.offset >= 0:
                logger.warning(
                    "%s[%d]: the committed offset %d is of another incarnation of the topic and is "
                    "discarded; reading from the beginning",
                    partition.topic,
                    partition.partition,
                    known.offset,
                )
