"""Poll and process messages in batches within Quix's loop.

Between two messages Quix runs its housekeeping (periodic tasks, the checkpoint's age, backpressure,
run conditions), and it wraps each message in a row and a context. Here up to `MAX_BATCH` messages
share one round of housekeeping, and messages are not wrapped in rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import TopicPartition
from quixstreams.context import set_message_context
from quixstreams.kafka.consumer import raise_for_msg_error
from quixstreams.models.messagecontext import MessageContext

from topologies.runtime.application import IncarnationApplication
from topologies.runtime.consumer import IncarnationConsumer
from topologies.runtime.pipelined_commits import AlternatingProducer, PipelinedContext
from topologies.runtime.producer import IncarnationProducer

logger = logging.getLogger(__name__)

MAX_BATCH = 100
POLL_S = 0.1
"""How long a batch waits for its first message; a due commit is delayed by up to this time."""


class BatchedApplication(IncarnationApplication):
    """A Quix application that polls in batches and pipelines its commits.

    Keys and values of its topics are bytes, and any error stops it. Commits run in the background
    (`topologies.runtime.pipelined_commits`).

    :ivar after_revoke: called with the (topic, number) of each partition that was revoked or lost,
        after their last checkpoint was committed or aborted.
    """

    _consumer: IncarnationConsumer
    _producer: IncarnationProducer
    _processing_context: PipelinedContext
    transactional_producer = AlternatingProducer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, consumer_poll_timeout=POLL_S, **kwargs)
        self.after_revoke: Callable[[Sequence[tuple[str, int]]], None] = lambda _: None
        self._processing_context = PipelinedContext.of(self._processing_context)

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._processing_context.wait_for_commit()
        super()._on_assign(consumer, partitions)

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        try:
            super()._on_revoke(consumer, partitions)
        finally:
            self.after_revoke([(partition.topic, partition.partition) for partition in partitions])

    def _on_lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._processing_context.join_commit()
        super()._on_lost(consumer, partitions)
        self.after_revoke([(partition.topic, partition.partition) for partition in partitions])

    def _exception_handler(self, *error: Any) -> Any:
        """Wait for a commit in progress before Quix closes the consumer and the state."""
        self._processing_context.join_commit()
        return super()._exception_handler(*error)  # type: ignore[no-untyped-call]

    def _process_message(self, dataframe_composed: dict[str, Any]) -> None:
        """Do what `Application._process_message` does, for a batch of available messages."""
        self._producer.poll(self._config.producer_poll_timeout)
        consumer, incarnations = self._consumer, self._incarnations
        store_offset = self._processing_context.store_offset
        timeout_s = self._config.consumer_poll_timeout
        assignments = incarnations.assignments
        for nth in range(MAX_BATCH):
            polled = consumer.poll_now() if nth else consumer.poll(timeout_s)
            if polled is None:
                self._producer.flush_soon()  # caught up with the input: latency matters now
                break
            message = raise_for_msg_error(polled)
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if topic not in dataframe_composed:
                self._pause(topic, partition)
                continue
            set_message_context(MessageContext(topic, partition, offset, len(message)))
            dataframe_composed[topic](
                message.value(), message.key(), message.timestamp()[1], message.headers()
            )
            store_offset(topic, partition, offset)
            if incarnations.assignments != assignments:  # Quix may have to recover state first
                return

    def _pause(self, changelog: str, partition: int) -> None:
        """Pause a changelog that was read as input; changelogs are only read to recover state.

        Quix's recovery does the same with a changelog that escaped its pause.
        """
        logger.warning("%s[%d] was read as input; it is paused again", changelog, partition)
        self._consumer.pause([TopicPartition(changelog, partition)])
