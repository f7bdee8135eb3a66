"""When a producer stores how far it covered the feed: once Kafka has all of it, losses apart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.feeds.finnhub.vendor import Finnhub
from app.feeds.live import producer as producing
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE
from app.feeds.live.coverage import CoverageCheckpoint, load_checkpoint, store_checkpoint
from app.feeds.live.producer import Producer
from app.settings import Settings
from tests.virtual_time import LoopClock, run

START_MS = 1_780_000_020_000


class _Outbox:
    """Stands for the way to Kafka: the test sets `delivered_up_to`."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.corrections = 0
        self.delivered_up_to = -1
        self.checked = False

    def offer(self, _: list[Any]) -> None:
        pass

    def topics_ready(self) -> None:
        pass

    def serve(self) -> None:
        pass

    def last(self) -> int:
        return 7

    async def finish(self, *_: int) -> None:
        pass

    def check(self) -> None:
        self.checked = True


def test_a_checkpoint_waits_for_what_came_before_it_and_counts_nothing_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        _env_file=None,
        tickhouse_feed="simulated",
        tickhouse_data_dir=tmp_path,
        finnhub_api_key="key",
        finnhub_websocket_url="ws://127.0.0.1:1",
        finnhub_rest_url="http://127.0.0.1:1",
    )
    settings.home.mkdir(parents=True)
    known = CoverageCheckpoint(START_MS - 1_000, {}, server=settings.finnhub_websocket_url)
    store_checkpoint(settings.home / CHECKPOINT_FILE, known)  # so its feed is known
    outboxes: list[_Outbox] = []

    def make(*_: object) -> _Outbox:
        outboxes.append(_Outbox())
        return outboxes[0]

    monkeypatch.setattr(producing, "Outbox", make)
    monkeypatch.setattr(producing, "await_topics", lambda *_: True)
    at_s: list[float | None] = []

    def note() -> None:
        checkpoint = load_checkpoint(settings.home / CHECKPOINT_FILE)
        at_s.append(None if checkpoint is None else (checkpoint.at_ms - START_MS) / 1000)

    async def live() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(
            Producer(settings, Finnhub(settings), LoopClock(START_MS), Random(1)).run(stop)
        )
        script: list[tuple[float, Callable[[], Any]]] = [
            (10.5, lambda: setattr(outboxes[0], "delivered_up_to", 6)),
            (20.5, lambda: setattr(outboxes[0], "delivered_up_to", 7)),
            (25.5, lambda: setattr(outboxes[0], "delivered_up_to", 6)),
            (30.5, lambda: setattr(outboxes[0], "corrections", 1)),
            (30.5, lambda: setattr(outboxes[0], "delivered_up_to", sys.maxsize)),
            (31.5, lambda: None),
            (32.5, stop.set),
        ]
        for second, act in script:
            await asyncio.sleep(second - asyncio.get_running_loop().time())
            note()
            act()
        await running

    run(live())
    assert at_s[:2] == [-1, -1], "message 7 has not arrived"
    assert at_s[2] is not None
    assert at_s[2] >= 20.5
    assert at_s[5] == at_s[4] < 26, "the checkpoint that waited counted what was lost"  # type: ignore[operator]
    assert at_s[6] is not None
    assert at_s[6] > 30.5
    assert outboxes[0].checked
