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
