"""A Quix producer that commits offsets with topic ids, and sends without a callback per record."""

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
"""Not read by the serializers in use, those of candles and of bytes."""


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
