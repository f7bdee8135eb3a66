"""Finish the commit of a checkpoint in the background while the next messages are processed.

Quix processes no messages while it commits a checkpoint. Most of that time it waits for Kafka to
accept the offsets and to end the transaction. Here processing waits only until Kafka has all
records of the checkpoint. The rest of the commit runs in a thread, while the next checkpoint uses a
second producer and its own transaction. Processing stays exactly-once:

- records of the next checkpoint are sent after Kafka has those of this one, so order is kept;
- the next checkpoint is never committed before this one; if this one fails, both are aborted;
- state that this one has not yet written to disk is not read: opening a store waits for the commit.
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

from topologies.runtime.producer import IncarnationProducer


class AlternatingProducer(IncarnationProducer):
    """Two alternating transactional producers: one commits while the other sends."""

    def __init__(self, *, extra_config: dict[str, Any], **given: Any) -> None:
        super().__init__(extra_config=extra_config, **given)
        second = {"transactional.id": f"{extra_config['transactional.id']}-2"}
        twin = IncarnationProducer(extra_config=extra_config | second, **given)
        self._other: Producer = twin._producer
        self.on_sent: Callable[[], None] = lambda: None
        """Called when a commit has sent all its records, so the next transaction may begin."""

    def begin_transaction(self) -> None:
        """Begin with the other producer.

        Both producers claim their transactional ids before any message is read.
        """
        self._producer, self._other = self._other, self._producer
        self._other._producer  # noqa: B018
        super().begin_transaction()  # type: ignore[no-untyped-call]

    def commit_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float | None = None
    ) -> None:
        committing = copy(self)  # keeps the current producer when `self` switches
        self.on_sent()
        IncarnationProducer.commit_transaction(committing, positions, group_metadata, timeout)


class PipelinedCheckpoint(Checkpoint):
    """A checkpoint that opens stores only after the previous one has written its state.

    :param wait_for_commit: waits for the commit of the previous checkpoint.
    """

    def __init__(self, *, wait_for_commit: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._wait_for_commit = wait_for_commit

    def get_store_transaction(self, *args: Any, **kwargs: Any) -> Any:
        self._wait_for_commit()
        return super().get_store_transaction(*args, **kwargs)

    def _flush_sink_bounded(self, sink: BaseSink, timeout: float | None) -> bool:
        """Flush on a revoke as on any other commit: in this thread, raising errors.

        Quix would flush in a separate thread, log its errors and continue. It would abandon a flush
        that takes longer than `timeout`; the abandoned thread would then save symbols while they
        change, into a later checkpoint. Therefore sinks must limit their waiting time themselves.
        """
        sink.flush()  # type: ignore[no-untyped-call]
        return True


@dataclasses.dataclass
class PipelinedContext(ProcessingContext):
    """A Quix processing context in which one checkpoint may be committing while another is open."""

    producer: AlternatingProducer
    _in_progress: Future[None] | None = dataclasses.field(init=False, repr=False, default=None)
    _committer: ThreadPoolExecutor = dataclasses.field(
        init=False, repr=False, default_factory=lambda: ThreadPoolExecutor(1, "commit")
    )
    """A single thread for all commits: with one thread per commit, memory grew from 500 to 840 MB
    (malloc arenas)."""

    @classmethod
    def of(cls, context: ProcessingContext) -> PipelinedContext:
        """Copy `context`, which must not have been used yet."""
        given = [field.name for field in dataclasses.fields(ProcessingContext) if field.init]
        return cls(**{name: getattr(context, name) for name in given})

    @property
    def committing(self) -> bool:
        """Whether the commit of the previous checkpoint is in progress and may still fail."""
        return self._in_progress is not None

    def wait_for_commit(self) -> None:
        """Wait for the commit of the previous checkpoint, and raise its error if it failed."""
        if self._in_progress is not None:
            in_progress, self._in_progress = self._in_progress, None
            in_progress.result()

    def join_commit(self) -> None:
        """Wait until the commit of the previous checkpoint has ended, ignoring its result."""
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
        """Commit as Quix does, but finish a commit that is not forced in the background.

        A commit that is not forced is postponed while the previous one is in progress.

        :raises Exception: the error of the previous commit.
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
        """Commit in a thread; return once the commit no longer needs the current producer."""
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
