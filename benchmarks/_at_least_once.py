"""Run `tickhouse candles` with at-least-once processing, for comparison."""

from __future__ import annotations

from typing import Any

from quixstreams.internal_producer import InternalProducer

from app.settings import load_settings
from topologies import candles
from topologies.runtime import worker
from topologies.runtime.batched_polling import BatchedApplication


class AtLeastOnceApplication(BatchedApplication):
    """Commits offsets without transactions: records are repeated after a crash."""

    def __init__(self, **given: Any) -> None:
        producer = {
            name: value
            for name, value in given.pop("producer_extra_config").items()
            if not name.startswith("transaction")
        }
        given["processing_guarantee"] = "at-least-once"
        super().__init__(producer_extra_config=producer, **given)

    def _get_internal_producer(
        self, on_error: Any = None, transactional: bool | None = None
    ) -> InternalProducer:
        return self._incarnation_producer(on_error, transactional=False)


if __name__ == "__main__":
    assert vars(worker)["BatchedApplication"] is BatchedApplication, (
        "the worker's application has moved"
    )
    worker.BatchedApplication = AtLeastOnceApplication  # type: ignore[attr-defined]
    candles.run(load_settings())
