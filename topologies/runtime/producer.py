"""A Quix producer that commits offsets with topic ids and uses no delivery callbacks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from confluent_kafka import TopicPartition
from quixstreams.internal_producer import InternalProducer
from quixstreams.models import Row, Topic
from quixstreams.models.serializers import MessageField, SerializationContext
from quixstreams.state.metadata import CHANGELOG_CF_MESSAGE_HEADER

from topologies.runtime.topic_incarnations import TopicIncarnations

FLUSH_SOON_S = 0.001
_NO_CONTEXT = SerializationContext("", MessageField.VALUE)
"""The serializers in use, those of candles and of bytes, ignore the context."""


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
        """Produce a row without copying its headers. The key must be bytes."""
        value: bytes = topic._value_serializer(row.value, _NO_CONTEXT)  # type: ignore[assignment]
        self.send(topic.name, value, key, -1 if partition is None else partition, timestamp or 0)

    def send(
        self, topic: str, value: bytes, key: bytes | None, partition: int = -1, timestamp: int = 0
    ) -> None:
        """Send a record without a delivery report, which would be a Python call per record.

        The commit of the transaction fails if the delivery of any of its records failed.

        :param partition: -1 to choose the partition by key.
        :param timestamp: UNIX ms; 0 for now.
        """
        try:
            self._producer._producer.produce(
                topic, value, key, partition=partition, timestamp=timestamp
            )
        except BufferError:  # the queue is full; Quix's own `produce` waits
            self._producer.produce(topic, value, key, partition=partition, timestamp=timestamp)
        self._lingers = True

    def add_to_transaction(self, changelog: tuple[str, int]) -> None:
        """Add a changelog partition to the transaction early, so that the commit is faster.

        The first record of a partition in a transaction needs two more requests: the client adds
        the partition, and its leader verifies it. The record sent here is a tombstone of an unused
        key.

        :param changelog: topic and partition number.
        """
        topic, partition = changelog
        headers = {CHANGELOG_CF_MESSAGE_HEADER: "default"}
        with suppress(BufferError):  # the state's own records add it then
            self._producer._producer.produce(
                topic, None, b"added-to-transaction", partition=partition, headers=headers
            )

    def flush_soon(self) -> None:
        """Send records that wait for `linger.ms`; wait at most a millisecond for their delivery."""
        if self._lingers:
            self._lingers = False
            self.flush(FLUSH_SOON_S)

    def commit_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float | None = None
    ) -> None:
        super().commit_transaction(self.incarnations.with_ids(positions), group_metadata, timeout)
