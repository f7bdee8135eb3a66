"""Producers in the tests' own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

from app.contracts import Message
from app.feeds.clock import Clock, SteadyClock
from app.feeds.finnhub.vendor import Finnhub
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE
from app.feeds.live.coverage import CoverageCheckpoint, store_checkpoint
from app.feeds.live.producer import Producer
from app.feeds.live.recorder import Recorder
from app.settings import Settings
from tests.integration.feeds.topic_reader import trades_of


async def produce(
    settings: Settings,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
) -> None:
    """A producer, until it is stopped or ends with an error."""
    producer = Producer(settings, Finnhub(settings), clock or SteadyClock(), Random(1), recorder)
    await producer.run(stop or asyncio.Event())


def know_server(settings: Settings) -> None:
    """Leave the checkpoint of an earlier run with the server; quotes are then asked for at once."""
    settings.home.mkdir(parents=True, exist_ok=True)
    checkpoint = CoverageCheckpoint(
        SteadyClock().now_ms(), covered={}, server=settings.finnhub_websocket_url
    )
    store_checkpoint(settings.home / CHECKPOINT_FILE, checkpoint)


@contextmanager
def producing(
    settings: Settings, clock: Clock | None = None, recorder: Recorder | None = None
) -> Iterator[Callable[[], None]]:
    """Run a producer in a thread for as long as the block runs; its error is raised.

    Gives what stops it before.
    """
    errors: list[BaseException] = []
    stop: list[Callable[[], Any]] = []
    started = threading.Event()

    async def work_until_stopped() -> None:
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(event.set))
        started.set()
        await produce(settings, event, clock, recorder)

    def work() -> None:
        try:
            asyncio.run(work_until_stopped())
        except BaseException as error:
            errors.append(error)

    def end() -> None:
        with suppress(RuntimeError):  # it may have ended on its own
            stop[0]()
        thread.join()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield end
    finally:
        end()
        if errors:
            raise errors[0]


def has_trades(symbol: str, count: int) -> Callable[[list[Message]], bool]:
    """Return a check whether messages hold at least `count` trades of `symbol`."""
    return lambda messages: len(trades_of(messages, symbol)) >= count
