"""A small application with a worker's settings, run in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quixstreams import State

from app.contracts import LIVE_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from topologies.runtime.batched_polling import BatchedApplication
from topologies.runtime.instance import claim_instance
from topologies.runtime.worker import application

GROUP = "counting"


@contextmanager
def counting(settings: Settings, stateful: bool) -> Iterator[BatchedApplication]:
    """An application that replies to each message with its number, overall or of its key."""
    with claim_instance(settings.state_dir / GROUP, None) as instance:
        app = application(settings, instance, settings.named(GROUP))
        source, target = (
            app.topic(
                settings.named(name),
                key_deserializer="bytes",
                value_deserializer="bytes",
                key_serializer="bytes",
                value_serializer="bytes",
            )
            for name in (STOCKS_TOPIC, LIVE_TOPIC)
        )
        stream = app.dataframe(source)
        if stateful:
            stream = stream.apply(_counted, stateful=True)
        stream.to_topic(target)
        yield app


def _counted(_: bytes, state: State) -> bytes:
    number = state.get("count", 0) + 1
    state.set("count", number)
    return b"%d" % number


def beside(app: BatchedApplication, watch: Callable[[], None]) -> None:
    """Run `app` until `watch` returns in a separate thread; raise what either raised."""
    failed: list[BaseException] = []

    def watching() -> None:
        try:
            watch()
        except BaseException as error:
            failed.append(error)
        app.stop()

    thread = threading.Thread(target=watching)
    thread.start()
    try:
        app.run()
    finally:
        thread.join()
    if failed:
        raise failed[0]
