"""A Quix application that detects recreated topics, lost partitions and early stop signals.

**Recreated topics.** A topic that is deleted and recreated starts at offset 0, and its consumers
are not notified. With Kafka 4.1 and librdkafka 2.12, a running consumer was observed to continue at
its old position once the new topic is long enough, and the broker accepts its commit of an old
offset for the new topic. Therefore each committed offset carries the topic's id in the commit
metadata.

**Lost partitions.** A worker that is suspended for longer than its session timeout (a closed
laptop, a long pause) loses its partitions, and other workers may have continued from the last
commit. Quix drops the stores of the partitions but keeps the open checkpoint. With at-least-once it
commits that checkpoint later (observed with quixstreams 3.28); with exactly-once the transaction
timeout prevents this in most cases. This application never commits it.

**Stop signals.** Quix loses a signal that arrives after it has installed its handlers and before
its loop starts (up to a second, while the transactional id is claimed), and its handlers stay
installed after the loop has ended. This application honors early signals and restores the previous
handlers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quixstreams import Application
from quixstreams.internal_producer import InternalProducer

from topologies.runtime.consumer import IncarnationConsumer
from topologies.runtime.producer import IncarnationProducer
from topologies.runtime.quix_version import check_quix
from topologies.runtime.topic_incarnations import TopicIncarnations


class IncarnationApplication(Application):
    """A Quix application whose committed offsets are valid for one incarnation of a topic only.

    :param incarnations: the incarnations of the topics, refreshed at each assignment.
    :param before_assign: called before partitions are assigned.
    :raises QuixVersionError: the installed version of Quix Streams is not the supported one.
    """

    transactional_producer: type[IncarnationProducer] = IncarnationProducer
    """The class of the transactional producer; other producers are `IncarnationProducer`s."""

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
        """Whether a signal or a call of `stop` requested the stop, as opposed to an error."""
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
