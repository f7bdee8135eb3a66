"""Symbols' open minutes kept hot in memory, and true only while the store says so.

Touching Quix's state for each message costs more than the candle itself. So a symbol lives in
memory and goes into `State` only when a checkpoint begins to commit: `CheckpointSink.flush` runs
before Quix produces the changelogs, in the same transaction. What is in memory is proved at the
first touch of each checkpoint: the store's head must hold the offset that memory was last saved
at; else (an aborted checkpoint, a partition that was elsewhere meanwhile) memory is dropped and
loaded anew. While the checkpoint that saved it is still committing
(`topologies.runtime.pipelined_commits`), the store cannot say so yet; it will, or the worker begins
anew.

Memory holds the symbols of assigned partitions: those of a partition that is revoked or lost are
evicted when its last checkpoint has ended, one way or the other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from quixstreams.sinks.base import BaseSink

from topologies.core import state_codec
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.state_codec import Store

logger = logging.getLogger(__name__)


class Hot:
    """One symbol in memory, and where it stands in the store."""

    __slots__ = ("candles", "checkpoint", "offset", "open", "saved_in", "saved_offset")

    def __init__(self, candles: SymbolCandles, saved_offset: int) -> None:
        self.candles = candles
        self.saved_offset = saved_offset
        """The offset in the head that was last written to the store or read from it."""
        self.offset = saved_offset
        """Of the last message applied."""
        self.saved_in = 0
        """The number of the flush that last wrote it; 0: none of this memory."""
        self.checkpoint: object = None
        self.open: Callable[[], Store] | None = None
        """Opens its store in `checkpoint`."""


class HotSymbols:
    """All symbols of a worker.

    :param committing: whether the last flush's checkpoint may yet fail, and end the worker then.
    """

    def __init__(
        self,
        rules: Rules,
        life: str,
        tally: Counter[str],
        committing: Callable[[], bool],
    ) -> None:
        self._rules = rules
        self._life = life
        self._tally = tally
        self._committing = committing
        self._flushes = 0
        self._symbols: dict[tuple[int, bytes], Hot] = {}
        self._dirty: list[Hot] = []

    def of(
        self,
        symbol: str,
        key: bytes,
        partition: int,
        checkpoint: object,
        store_of: Callable[[int, bytes], Store],
    ) -> Hot:
        """The symbol of `key` in `partition`, proved once a `checkpoint`.

        :param store_of: opens the store of a partition and key.
        """
        hot = self._symbols.get((partition, key))
        if hot is None or hot.checkpoint is not checkpoint:
            if hot is None or hot.saved_in != self._flushes or not self._committing():
                hot = self._prove(hot, symbol, (partition, key), store_of(partition, key))
            hot.checkpoint = checkpoint
            hot.open = partial(store_of, partition, key)
            self._dirty.append(hot)
        return hot

    def _prove(self, hot: Hot | None, symbol: str, place: tuple[int, bytes], store: Store) -> Hot:
        head = state_codec.head_of(store)
        stored = head.offset if head is not None and head.life == self._life else -1
        if hot is not None and hot.offset == hot.saved_offset == stored:
            return hot
        if head is None:
            hot = Hot(SymbolCandles(symbol, self._rules, self._tally), -1)
        elif head.life != self._life:
            logger.warning(
                "%s: its state belongs to another life of the topic (%s) and is discarded",
                symbol,
                head.life,
            )
            state_codec.discard(head, store)
            hot = Hot(SymbolCandles(symbol, self._rules, self._tally), -1)
        else:
            candles = state_codec.load(head, symbol, self._rules, self._tally, store)
            hot = Hot(candles, head.offset)
        self._symbols[place] = hot
        return hot

    def flush(self, checkpoint: object) -> None:
        """Write every symbol touched in `checkpoint` through its store.

        Those that an aborted one touched, and this one did not, are not written.
        """
        dirty, self._dirty = self._dirty, []
        self._flushes += 1
        for hot in dirty:
            opened, hot.open = hot.open, None
            if opened is not None and hot.checkpoint is checkpoint:
                state_codec.save(hot.candles, self._life, hot.offset, opened())
                hot.saved_offset, hot.saved_in = hot.offset, self._flushes
            hot.checkpoint = None

    def evict(self, partitions: Collection[int]) -> None:
        """Drop the symbols of `partitions`, which are this worker's no more.

        Those that come back are loaded from the store. No flush may be under way.
        """
        places = [place for place in self._symbols if place[0] in partitions]
        evicted = {self._symbols.pop(place) for place in places}
        self._dirty = [hot for hot in self._dirty if hot not in evicted]

    def forget(self) -> None:
        """Drop all memory; what is touched next is loaded from the store."""
        self._symbols.clear()
        self._dirty.clear()


class CheckpointSink(BaseSink):
    """Writes hot symbols into the state store when a checkpoint begins to commit.

    :param checkpoint: says which one is committed.
    :param check: begins at each commit to ask whether it may be, and returns what waits for the
        answer and raises when it may not: symbols are written meanwhile.
    """

    def __init__(
        self,
        symbols: HotSymbols,
        checkpoint: Callable[[], object],
        check: Callable[[], Callable[[], None]],
    ) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._symbols = symbols
        self._checkpoint = checkpoint
        self._check = check

    def add(self, *_: Any, **__: Any) -> None:
        """Candles go to their topics, not here."""

    def flush(self) -> None:
        """Step 1 of `quixstreams.checkpointing.Checkpoint.commit`, before the changelogs."""
        confirm = self._check()
        self._symbols.flush(self._checkpoint())
        confirm()

    def on_paused(self) -> None:
        """The checkpoint was given up."""
        self._symbols.forget()
