"""Commits that go on while what comes next is read.

Quix stands still while it commits a checkpoint, and most of that time it waits for Kafka to take
the offsets and to end the transaction. Here it stands still until Kafka has all records of the
checkpoint; the rest of the very same commit runs in a thread, and the next checkpoint writes in a
transaction of its own, by a second producer. Nothing becomes less exact:

- records of the next checkpoint are sent when Kafka has those of this one: their order stays;
- the next one is not committed before this one is: when this one fails, both are lost;
- what this one has yet to write to the state's disk is not read: who asks for state waits for it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from copy import copy
from typing import Any

from confluent_kafka import TopicPartition
from quixstreams.checkpointing import Checkpoint
from quixstreams.kafka.producer import Producer
from quixstreams.processing import ProcessingContext
from quixstreams.sinks.base import BaseSink

from topologies.runtime.application import IncarnationProducer


class AlternatingProducer(IncarnationProducer):
    """Two transactional producers in turn: one commits while the other is written to."""

    def __init__(self, *, extra_config: dict[str, Any], **given: Any) -> None:
        super().__init__(extra_config=extra_config, **given)
        second = {"transactional.id": f"{extra_config['transactional.id']}-2"}
        twin = IncarnationProducer(extra_config=extra_config | second, **given)
        self._other: Producer = twin._producer
        self.on_sent: Callable[[], None] = lambda: None
        """Called when a commit has nothing left to send: the next transaction may begin."""

    def begin_transaction(self) -> None:
        """Begin with the other producer; both have claimed their ids before anything is read."""
        self._producer, self._other = self._other, self._producer
        self._other._producer  # noqa: B018
        super().begin_transaction()  # type: ignore[no-untyped-call]

    def commit_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float | None = None
    ) -> None:
        committing = copy(self)  # goes on with the producer of now
        self.on_sent()
        IncarnationProducer.commit_transaction(committing, positions, group_metadata, timeout)


class PipelinedCheckpoint(Checkpoint):
    """A checkpoint whose state is read when the one before it has written its own.

    :param wait_for_commit: waits for that.
    """

    def __init__(self, *, wait_for_commit: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._wait_for_commit = wait_for_commit

    def get_store_transaction(self, *args: Any, **kwargs: Any) -> Any:
        self._wait_for_commit()
        return super().get_store_transaction(*args, **kwargs)

    def _flush_sink_bounded(self, sink: BaseSink, timeout: float | None) -> bool:
        """Flush as at any other commit when partitions are revoked: in this thread, errors raised.

        Quix would flush in a thread of its own, log its errors and go on. One that takes longer
        than `timeout` it would abandon, and that thread would save symbols while they are changed,
        into a later checkpoint. The sinks here must bound their waiting themselves.
        """
        sink.flush()  # type: ignore[no-untyped-call]
        return True


@dataclasses.dataclass
class PipelinedContext(ProcessingContext):
    """Quix's processing context; of two checkpoints one may be committing."""

    producer: AlternatingProducer
    _in_progress: Future[None] | None = dataclasses.field(init=False, repr=False, default=None)
    _committer: ThreadPoolExecutor = dataclasses.field(
        init=False, repr=False, default_factory=lambda: ThreadPoolExecutor(1, "commit")
    )
    """One thread for all commits: with one each, malloc's arenas grew from 500 to 840 MB."""

    @classmethod
    def of(cls, context: ProcessingContext) -> PipelinedContext:
        """`context`, which nobody uses yet, with commits that overlap."""
        given = [one.name for one in dataclasses.fields(ProcessingContext) if one.init]
        return cls(**{name: getattr(context, name) for name in given})

    @property
    def committing(self) -> bool:
        """Whether the checkpoint before this one may yet fail."""
        return self._in_progress is not None

    def wait_for_commit(self) -> None:
        """Wait for the checkpoint before this one; raise what it failed of."""
        if self._in_progress is not None:
            in_progress, self._in_progress = self._in_progress, None
            in_progress.result()

    def join_commit(self) -> None:
        """Wait for the checkpoint before this one, whatever comes of it."""
        if self._in_progress is not None:
            wait([self._in_progress])

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)  # type: ignore[no-untyped-call]
        finally:
            self._committer.shutdown()

    def init_checkpoint(self) -> None:
        self._checkpoint = PipelinedCheckpoint(
            wait_for_commit=self.wait_for_commit,
            commit_interval=self.commit_interval,
            commit_every=self.commit_every,
            state_manager=self.state_manager,
            producer=self.producer,
            consumer=self.consumer,
            sink_manager=self.sink_manager,
            dataframe_registry=self.dataframe_registry,
            exactly_once=self.exactly_once,
            revoke_flush_timeout=self.revoke_flush_timeout,
        )

    def commit_checkpoint(self, force: bool = False, revoking: bool = False) -> None:
        """As in Quix, but one that is not forced goes on beside what is read next.

        It is not due while the one before it goes on.

        :raises Exception: what the one before it failed of.
        """
        if force or (self._in_progress is not None and self._in_progress.done()):
            self.wait_for_commit()
        if force:
            super().commit_checkpoint(force, revoking)
        elif self._in_progress is None and self.checkpoint.expired():
            if self.checkpoint.empty():
                super().commit_checkpoint()
            else:
                self._commit_in_background(self.checkpoint)

    def _commit_in_background(self, checkpoint: Checkpoint) -> None:
        """Commit in a thread; returns when that needs this one's producer no longer."""
        sent = threading.Event()
        self.producer.on_sent = sent.set
        done = self._committer.submit(copy_context().run, checkpoint.commit)
        done.add_done_callback(lambda _: sent.set())
        sent.wait()
        if done.done():
            done.result()
        else:
            self._in_progress = done
        self.init_checkpoint()
