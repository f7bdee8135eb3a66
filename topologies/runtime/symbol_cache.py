"""Cache the state of symbols in memory, verified against the state store once per checkpoint.

Reading and writing Quix's state for each message costs more than building a candle. Therefore a
symbol's state stays in memory and is written to `State` only when a checkpoint begins to commit:
`CheckpointSink.flush` runs before Quix produces the changelogs, in the same transaction. An entry
is verified at its first use in each checkpoint: the head in the store must hold the offset at which
the entry was last saved. If it does not (the checkpoint was aborted, or another worker had the
partition in the meantime), the entry is dropped and loaded from the store. While the checkpoint
that saved it is still committing (`topologies.runtime.pipelined_commits`), the store cannot confirm
the entry yet; either that commit succeeds or the worker restarts.

The cache holds the symbols of assigned partitions. Those of a revoked or lost partition are evicted
once its last checkpoint was committed or aborted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from quixstreams import State
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.sinks.base import BaseSink

from topologies.runtime.pipelined_commits import PipelinedContext
from topologies.runtime.producer import IncarnationProducer

logger = logging.getLogger(__name__)

SymbolState = State[bytes, bytes]
"""The state of one symbol: byte values by byte keys."""


class StateHead(Protocol):
    """The part of a symbol's stored state that a cache entry is verified against."""

    incarnation: str
    """Kafka's id of the input topic that the state belongs to."""
    offset: int
    """Offset of the last message applied."""


V = TypeVar("V")
H = TypeVar("H", bound=StateHead)


class StateCodec(Protocol[V, H]):
    """Creates the state of a symbol, loads it from a store and saves it there."""

    def head(self, store: SymbolState) -> H | None:
        """Return the stored head; None if the store holds no state."""

    def new(self, symbol: str) -> V:
        """Create the state of a symbol before its first message."""

    def load(self, head: H, symbol: str, store: SymbolState) -> V:
        """Load the state that was saved with `head`."""

    def save(self, value: V, incarnation: str, offset: int, store: SymbolState) -> None:
        """Write what changed since the last save, with a head of this incarnation and offset."""

    def discard(self, head: H, store: SymbolState) -> None:
        """Delete all entries that were saved with `head`."""


class CachedSymbol(Generic[V]):
    """The state of one symbol in memory, and the offset at which the store holds it."""

    __slots__ = ("checkpoint", "offset", "open", "saved_in", "saved_offset", "value")

    def __init__(self, value: V, saved_offset: int) -> None:
        self.value = value
        self.saved_offset = saved_offset
        """The offset in the head that was last written to, or read from, the store."""
        self.offset = saved_offset
        """Offset of the last message applied."""
        self.saved_in = 0
        """Number of the flush that last saved this entry; 0 if none did."""
        self.checkpoint: object = None
        self.open: Callable[[], SymbolState] | None = None
        """Opens the symbol's store in `checkpoint`."""


class SymbolCache(Generic[V, H]):
    """The cached state of the symbols in a worker's partitions.

    :param incarnation: Kafka's id of the input topic; state of another one is discarded.
    :param committing: returns whether the checkpoint of the last flush may still fail. If it fails,
        the worker restarts with an empty cache.
    """

    def __init__(
        self, codec: StateCodec[V, H], incarnation: str, committing: Callable[[], bool]
    ) -> None:
        self._codec = codec
        self._incarnation = incarnation
        self._committing = committing
        self._flushes = 0
        self._symbols: dict[tuple[int, bytes], CachedSymbol[V]] = {}
        self._dirty: list[CachedSymbol[V]] = []

    def of(
        self,
        symbol: str,
        key: bytes,
        partition: int,
        checkpoint: object,
        store_of: Callable[[int, bytes], SymbolState],
    ) -> CachedSymbol[V]:
        """Return the entry of `key` in `partition`, verified once per `checkpoint`.

        :param store_of: opens the store of a partition and key.
        """
        cached = self._symbols.get((partition, key))
        if cached is None or cached.checkpoint is not checkpoint:
            if cached is None or cached.saved_in != self._flushes or not self._committing():
                store = store_of(partition, key)
                cached = self._verify(cached, symbol, (partition, key), store)
            cached.checkpoint = checkpoint
            cached.open = partial(store_of, partition, key)
            self._dirty.append(cached)
        return cached

    def _verify(
        self,
        cached: CachedSymbol[V] | None,
        symbol: str,
        key: tuple[int, bytes],
        store: SymbolState,
    ) -> CachedSymbol[V]:
        """Return `cached` if the store confirms it; otherwise load the entry from the store."""
        head = self._codec.head(store)
        stored = head.offset if head is not None and head.incarnation == self._incarnation else -1
        if cached is not None and cached.offset == cached.saved_offset == stored:
            return cached
        if head is None:
            cached = CachedSymbol(self._codec.new(symbol), -1)
        elif head.incarnation != self._incarnation:
            logger.warning(
                "%s: its state belongs to another incarnation of the topic (%s) and is discarded",
                symbol,
                head.incarnation,
            )
            self._codec.discard(head, store)
            cached = CachedSymbol(self._codec.new(symbol), -1)
        else:
            cached = CachedSymbol(self._codec.load(head, symbol, store), head.offset)
        self._symbols[key] = cached
        return cached

    def flush(self, checkpoint: object) -> None:
        """Save every symbol used in `checkpoint` to its store.

        Symbols that were only used in an aborted checkpoint are not saved.
        """
        dirty, self._dirty = self._dirty, []
        self._flushes += 1
        for cached in dirty:
            opened, cached.open = cached.open, None
            if opened is not None and cached.checkpoint is checkpoint:
                self._codec.save(cached.value, self._incarnation, cached.offset, opened())
                cached.saved_offset, cached.saved_in = cached.offset, self._flushes
            cached.checkpoint = None

    def evict(self, partitions: Collection[int]) -> None:
        """Drop the symbols of `partitions`, which are no longer assigned to this worker.

        They are loaded from the store again if the partitions return. No flush may be in progress.
        """
        keys = [key for key in self._symbols if key[0] in partitions]
        evicted = {self._symbols.pop(key) for key in keys}
        self._dirty = [cached for cached in self._dirty if cached not in evicted]

    def clear(self) -> None:
        """Drop all symbols; they are loaded from the store at their next use."""
        self._symbols.clear()
        self._dirty.clear()


class StateStores:
    """Opens the state of a symbol in the current checkpoint.

    With `stateful=True` Quix would do this for each message; a cache needs it once per checkpoint
    and symbol.
    """

    def __init__(self, stream: StreamingDataFrame) -> None:
        self._context = cast(PipelinedContext, stream.processing_context)
        self._producer = cast(IncarnationProducer, self._context.producer)
        self._stream_id = stream.stream_id
        self._transactions: dict[int, object] = {}
        stream.register_store()

    def open(self, partition: int, key: bytes) -> SymbolState:
        """Return the state of `key`; on first use, add its changelog to Kafka's transaction."""
        transaction = self._context.checkpoint.get_store_transaction(self._stream_id, partition)
        if self._transactions.get(partition) is not transaction:
            self._transactions[partition] = transaction
            if changelog := transaction.changelog_topic_partition:
                self._producer.add_to_transaction(changelog)
        return transaction.as_state(prefix=key)

    def release(self, partitions: Collection[int]) -> None:
        """Drop the transactions of `partitions`, which are no longer assigned to this worker."""
        for partition in partitions:
            self._transactions.pop(partition, None)


class CheckpointSink(BaseSink):
    """Saves cached symbols to the state store when a checkpoint begins to commit.

    :param checkpoint: returns the checkpoint that is being committed.
    :param check: starts checking whether the commit is allowed, and returns a function that waits
        for the result and raises if it is not. Symbols are saved in the meantime.
    """

    def __init__(
        self,
        symbols: SymbolCache[Any, Any],
        checkpoint: Callable[[], object],
        check: Callable[[], Callable[[], None]],
    ) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._symbols = symbols
        self._checkpoint = checkpoint
        self._check = check

    def add(self, *_: Any, **__: Any) -> None:
        """Do nothing: the topology's records go to their topics."""

    def flush(self) -> None:
        """Save the symbols, before Quix produces the changelogs.

        This is step 1 of `quixstreams.checkpointing.Checkpoint.commit`.
        """
        confirm = self._check()
        self._symbols.flush(self._checkpoint())
        confirm()

    def on_paused(self) -> None:
        """Clear the cache, because the checkpoint was aborted."""
        self._symbols.clear()
