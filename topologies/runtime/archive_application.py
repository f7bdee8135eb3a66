"""The archive's application, which assigns each record to an incarnation of its topic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from quixstreams.processing import ProcessingContext
from quixstreams.sinks.base.item import SinkItem

from app.kafka_reads import read_to_end
from app.settings import Settings
from sinks.parquet_s3 import IncarnationBatch
from topologies.runtime.application import IncarnationApplication
from topologies.runtime.topic_incarnations import REQUEST_TIMEOUT_S, TopicIncarnations


class ArchiveIncarnations(TopicIncarnations):
    """The incarnations of the archived topics, and a comparison of buffered records with them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._client = settings.kafka_client() | {"group.id": settings.named("archive-compare")}

    def previous_incarnation_records(self, batch: IncarnationBatch) -> list[SinkItem]:
        """Return the records of `batch` that its topic no longer has.

        They belong to an earlier incarnation. Between two requests for topic ids the consumer may
        have moved to the next incarnation unnoticed, so each record is compared with the record
        that is now at its offset.

        :raises KafkaException: the broker does not answer.
        """
        records = list(batch)
        if batch.topic not in self.current_ids([batch.topic]):
            return records
        found = self._present_records(batch.topic, batch.partition, records)
        return [record for record in records if found.get(record.offset) != _content(record)]

    def _present_records(
        self, topic: str, partition: int, records: list[SinkItem]
    ) -> dict[int, Any]:
        client = self._client | {
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "latest",
            "log_level": 0,
        }
        first, last = records[0].offset, records[-1].offset
        found: dict[int, Any] = {}
        consumer = Consumer(client)
        try:
            start = TopicPartition(topic, partition, first)
            for message in read_to_end(consumer, [start], REQUEST_TIMEOUT_S):
                if message.offset() > last:
                    break
                found[message.offset()] = (
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                )
            return found
        finally:
            consumer.close()


def _content(record: SinkItem) -> tuple[int, Any, Any]:
    return (record.timestamp, record.key, record.value)


@dataclasses.dataclass
class TimedContext(ProcessingContext):
    """A Quix processing context that recomputes the commit interval for each checkpoint."""

    seconds_to_commit: Callable[[], float] = lambda: 0.0

    @classmethod
    def of(cls, context: ProcessingContext, seconds_to_commit: Callable[[], float]) -> TimedContext:
        """Copy `context`, which must not have been used yet."""
        given = [field.name for field in dataclasses.fields(ProcessingContext) if field.init]
        values = {name: getattr(context, name) for name in given}
        return cls(**values, seconds_to_commit=seconds_to_commit)

    def init_checkpoint(self) -> None:
        self.commit_interval = self.seconds_to_commit()
        super().init_checkpoint()  # type: ignore[no-untyped-call]


class ArchiveApplication(IncarnationApplication):
    """A Quix application that commits at given times, and earlier if many bytes are buffered.

    :param seconds_to_flush: returns the seconds until the next commit, which writes the objects.
    :param waiting_bytes: returns the number of buffered bytes.
    :param max_bytes: the number of buffered bytes that triggers a commit.
    """

    def __init__(
        self,
        *args: Any,
        seconds_to_flush: Callable[[], float],
        waiting_bytes: Callable[[], int],
        max_bytes: int,
        **kwargs: Any,
    ) -> None:
        def commit_when_large(_topic: str, _partition: int, _offset: int) -> None:
            if waiting_bytes() >= max_bytes:
                self._processing_context.commit_checkpoint(force=True)

        super().__init__(*args, on_message_processed=commit_when_large, **kwargs)
        self._processing_context = TimedContext.of(self._processing_context, seconds_to_flush)
