"""A Quix application that stops when its partitions were lost, instead of committing their work.

A worker that sleeps past its session (a laptop's lid, a long pause) loses its partitions; others
may have read on from the last commit meanwhile. Quix drops the partitions' stores but keeps the
open checkpoint. At least once it commits that later (measured with quixstreams 3.28); exactly-once
the transaction's time-out mostly prevents it, and this does so always.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, TopicPartition
from quixstreams import Application
from quixstreams.exceptions import QuixException
from quixstreams.internal_consumer import InternalConsumer


class AssignmentLostError(QuixException):
    """Partitions went to another worker before this one could commit: it must begin anew."""


class LossAwareConsumer(InternalConsumer):
    """Quix's consumer; `poll` raises once partitions were lost."""

    _lost = False

    def poll(self, timeout: float | None = None) -> Any:
        """
        :raises AssignmentLostError: partitions were lost; what was read of them must not be kept.
        """
        message = super().poll(timeout)
        if self._lost:
            raise AssignmentLostError("its partitions were given to another worker")
        return message

    def subscribe(
        self, topics: list[Any], on_assign: Any = None, on_revoke: Any = None, on_lost: Any = None
    ) -> None:
        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            on_lost(consumer, partitions)
            self._lost = True  # raised by poll: an exception here would break a close

        super().subscribe(topics, on_assign=on_assign, on_revoke=on_revoke, on_lost=lost)


class LossAwareApplication(Application):
    """A Quix application on a `LossAwareConsumer`, or a subclass of it."""

    consumer_class: type[LossAwareConsumer] = LossAwareConsumer

    def _get_internal_consumer(
        self, on_error: Any = None, extra_config_overrides: dict[str, Any] | None = None
    ) -> LossAwareConsumer:
        config = self._config
        return self.consumer_class(
            broker_address=config.broker_address,
            consumer_group=config.consumer_group,
            auto_offset_reset=config.auto_offset_reset,
            auto_commit_enable=False,
            max_partition_buffer_size=config.max_partition_buffer_size,
            extra_config={**config.consumer_extra_config, **(extra_config_overrides or {})},
            on_error=on_error,
        )
