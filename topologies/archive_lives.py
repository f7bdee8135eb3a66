"""Which life of its topics the archive reads, and the consumer that remembers it.

A topic that is deleted and made again starts at offset 0. Nobody tells its readers: measured on
Kafka 4.1 with librdkafka 2.12, a running consumer goes on at its old position as soon as the new
topic is that long, and its commit of an old offset is taken for the new topic. So each committed
offset carries the id of the topic it belongs to, as the commit's metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from quixstreams import Application
from quixstreams.exceptions import QuixException
from quixstreams.internal_consumer import InternalConsumer
from quixstreams.sinks.base.item import SinkItem

from app.settings import Settings
from app.topics import topic_ids
from sinks.parquet_s3 import LifeBatch

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 15.0


class AssignmentLostError(QuixException):
    """Partitions went to another worker before this one could commit: it must begin anew."""


class TopicLives:
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
        return self._ids.get(topic, "")

    def present(self, topics: Iterable[str]) -> Mapping[str, str]:
        return topic_ids(self._settings, sorted(set(topics)), ASK_TIMEOUT_S, self._admin)

    def former(self, batch: LifeBatch) -> list[SinkItem]:
        """The records of `batch` that its topic does not hold now: they are of an earlier life.

        Between two looks at the ids the consumer may have crossed from one life into the next
        without a sign, so each record is compared with what now lies at its offset.
        """
        records = list(batch)
        if batch.topic not in self.present([batch.topic]):
            return records
        found = self._present_records(batch.topic, batch.partition, records)
        return [record for record in records if found.get(record.offset) != _content(record)]

    def _present_records(
        self, topic: str, partition: int, records: list[SinkItem]
    ) -> dict[int, Any]:
        client = self._settings.kafka_client() | {
            "group.id": self._settings.named("archive-compare"),
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
            consumer.assign([TopicPartition(topic, partition, first)])
            while True:
                message = consumer.poll(ASK_TIMEOUT_S)
                if message is None:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                if message.error():
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        return found
                    raise KafkaException(message.error())
                if message.offset() > last:
                    return found
                found[message.offset()] = (
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                )
        finally:
            consumer.close()


def _content(record: SinkItem) -> tuple[int, Any, Any]:
    return (record.timestamp, record.key, record.value)


class LifeConsumer(InternalConsumer):
    """Quix's consumer, whose committed offsets say which life of the topic they belong to."""

    lives: TopicLives
    before_assign: Callable[[], None]
    _lost = False

    def poll(self, timeout: float | None = None) -> Any:
        """
        :raises AssignmentLostError: partitions were lost. What was read of them must neither be
            committed nor kept, and Quix would do both.
        """
        message = super().poll(timeout)
        if self._lost:
            raise AssignmentLostError("its partitions were given to another worker")
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
                self.lives.begin(partition.topic for partition in partitions)
                self._begin_new_lives(consumer, partitions)
            on_assign(consumer, partitions)

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            on_lost(consumer, partitions)
            self._lost = True  # raised by poll: an exception here would break a close

        super().subscribe(topics, on_assign=assign, on_revoke=on_revoke, on_lost=lost)

    def commit(self, message: Any = None, offsets: Any = None, asynchronous: bool = True) -> Any:
        stamped = [
            TopicPartition(tp.topic, tp.partition, tp.offset, self.lives.id_of(tp.topic))
            for tp in offsets or ()
        ]
        return super().commit(message=message, offsets=stamped, asynchronous=asynchronous)

    def _begin_new_lives(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let `partitions` whose committed offset is of another life begin at the beginning."""
        committed = {
            (tp.topic, tp.partition): tp
            for tp in consumer.committed(
                [TopicPartition(tp.topic, tp.partition) for tp in partitions],
                timeout=ASK_TIMEOUT_S,
            )
        }
        for partition in partitions:
            known = committed[partition.topic, partition.partition]
            if known.offset >= 0 and known.metadata != self.lives.id_of(partition.topic):
                partition.offset = OFFSET_BEGINNING
                logger.warning(
                    "%s[%d]: the committed offset %d is of another life of the topic and is "
                    "discarded; reading from the beginning",
                    partition.topic,
                    partition.partition,
                    known.offset,
                )


class LifeApplication(Application):
    """A Quix application that reads each life of its topics from its own committed offset.

    :param lives: told of each assignment.
    :param before_assign: called before partitions are assigned.
    :param max_bytes: of what may wait for a commit; `waiting_bytes` says how much does.
    """

    def __init__(
        self,
        *args: Any,
        lives: TopicLives,
        before_assign: Callable[[], None],
        waiting_bytes: Callable[[], int],
        max_bytes: int,
        **kwargs: Any,
    ) -> None:
        self._lives = lives
        self._before_assign = before_assign

        def commit_when_large(_topic: str, _partition: int, _offset: int) -> None:
            if waiting_bytes() >= max_bytes:
                self._processing_context.commit_checkpoint(force=True)

        super().__init__(*args, on_message_processed=commit_when_large, **kwargs)

    def _get_internal_consumer(
        self, on_error: Any = None, extra_config_overrides: dict[str, Any] | None = None
    ) -> LifeConsumer:
        config = self._config
        consumer = LifeConsumer(
            broker_address=config.broker_address,
            consumer_group=config.consumer_group,
            auto_offset_reset=config.auto_offset_reset,
            auto_commit_enable=False,
            max_partition_buffer_size=config.max_partition_buffer_size,
            extra_config={**config.consumer_extra_config, **(extra_config_overrides or {})},
            on_error=on_error,
        )
        consumer.lives = self._lives
        consumer.before_assign = self._before_assign
        return consumer
