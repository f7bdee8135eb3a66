"""A candles worker whose checkpoints fail at random, before, during and after their flush.

    python -m tests.integration.topologies.faulty_worker SEED

Settings come from the environment, as for `tickhouse candles`. Some faults leave Quix's application
standing, so that the partitions stay with a process that remembers what was aborted; others end it,
and it begins anew in the same process. Each is logged by its name.
"""

from __future__ import annotations

import itertools
import logging
import random
import sys
from typing import Any
from unittest.mock import patch

from confluent_kafka import KafkaError, KafkaException
from quixstreams.sinks.base import SinkBackpressureError

from app.log import set_up_logging
from app.settings import load_settings
from topologies import candles
from topologies.runtime import worker
from topologies.runtime.producer import IncarnationProducer
from topologies.runtime.symbol_cache import CheckpointSink, SymbolCache

logger = logging.getLogger("faults")

ABORTED = ("before the flush", "in the flush", "after the flush")
"""Aborted checkpoints after which the process continues with its memory."""
REVOKED = "as partitions are revoked"
"""The same, and the partitions return in a later rebalance."""
ENDED = ("in the changelog", "before the commit", "after the commit")
"""Checkpoints that end the application."""
FAULTS = (*ABORTED, REVOKED, *ENDED)

_sink_flush, _flush = CheckpointSink.flush, SymbolCache.flush
_produce, _commit = IncarnationProducer.produce, IncarnationProducer.commit_transaction
_producer_flush = IncarnationProducer.flush


class Faults:
    """Decides at random whether a checkpoint fails, at each point in turn."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._points = itertools.cycle(self._rng.sample([*ABORTED, *ENDED], 6))
        self._revoked = itertools.cycle([True, False])
        self._at = ""

    def patched(self) -> Any:
        """Patches that inject the faults."""
        return (
            patch.object(CheckpointSink, "flush", lambda sink: self._before_flush(sink)),
            patch.object(SymbolCache, "flush", lambda symbols, at: self._in_flush(symbols, at)),
            patch.object(
                IncarnationProducer, "produce", lambda me, *a, **k: self._produced(me, *a, **k)
            ),
            patch.object(
                IncarnationProducer, "flush", lambda me, timeout=None: self._sent(me, timeout)
            ),
            patch.object(
                IncarnationProducer,
                "commit_transaction",
                lambda me, *a, **k: self._commit(me, *a, **k),
            ),
        )

    def _happens(self, place: str) -> bool:
        if self._at != place:
            return False
        self._at = ""
        logger.info("fault %s", place)
        return True

    def _before_flush(self, sink: CheckpointSink) -> None:
        self._at = next(self._points) if self._rng.random() < 0.12 else ""
        if self._happens("before the flush"):
            raise SinkBackpressureError(retry_after=0.05)
        _sink_flush(sink)

    def _in_flush(self, symbols: SymbolCache, checkpoint: object) -> None:
        if self._happens("in the flush"):
            dirty = symbols._dirty
            symbols._dirty = dirty[: len(dirty) // 2]
            _flush(symbols, checkpoint)
            symbols._dirty = dirty[len(dirty) // 2 :]
            raise SinkBackpressureError(retry_after=0.05)
        _flush(symbols, checkpoint)
        if self._happens("after the flush"):
            raise SinkBackpressureError(retry_after=0.05)

    def _produced(self, producer: IncarnationProducer, *args: Any, **kwargs: Any) -> None:
        if "changelog__" in kwargs.get("topic", "") and self._happens("in the changelog"):
            raise KafkaException(KafkaError(KafkaError._FAIL))
        _produce(producer, *args, **kwargs)

    def _sent(self, producer: IncarnationProducer, timeout: float | None) -> int:
        left = _producer_flush(producer, timeout)
        if timeout is None or not next(self._revoked):
            return left
        logger.info("fault %s", REVOKED)
        return 1  # not delivered: Quix gives the checkpoint up and lets the partitions go

    def _commit(self, producer: IncarnationProducer, *args: Any, **kwargs: Any) -> None:
        if self._happens("before the commit"):
            raise KafkaException(KafkaError(KafkaError._FAIL))
        _commit(producer, *args, **kwargs)
        if self._happens("after the commit"):
            raise KafkaException(KafkaError(KafkaError._FAIL))


def main() -> None:
    settings = load_settings()
    set_up_logging(settings)
    worker.RETRY_FIRST_S = worker.RETRY_MAX_S = 0.1
    for place in Faults(int(sys.argv[1])).patched():
        place.start()
    candles.run(settings)


if __name__ == "__main__":
    main()
