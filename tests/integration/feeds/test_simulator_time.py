"""The simulator on a clock that runs faster than time: minutes pass in a test's second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve

from app.feeds.simulator.exchange import Exchange
from app.feeds.simulator.server import STEP_MS, Simulator

START_MS = 1_780_000_000_000
PATIENCE_S = 30


class FastClock:
    """Runs `speed` times as fast as time, and jumps when told."""

    def __init__(self, speed: float) -> None:
        self.jumped_ms = 0
        self._speed = speed
        self._began = time.monotonic()

    def now_ms(self) -> int:
        passed_ms = (time.monotonic() - self._began) * 1000 * self._speed
        return START_MS + self.jumped_ms + int(passed_ms)

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0.0) / 1000 / self._speed)


@contextlib.asynccontextmanager
async def connected(clock: FastClock) -> AsyncIterator[ClientConnection]:
    """A client that has subscribed to AAPL, at a simulator in this process."""
    simulator = Simulator(
        Exchange(1, 20.0, clock.now_ms()), clock, tokens=frozenset({"key"}), seed=1
    )
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        market = tasks.create_task(simulator.play())
        async with serve(
            simulator.converse, "127.0.0.1", 0, process_request=simulator.respond
        ) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}?token=key") as client:
                await client.send('{"type":"subscribe","symbol":"AAPL"}')
                yield client
        market.cancel()


async def read_until(client: ClientConnection, kind: str) -> list[dict[str, Any]]:
    frames = []
    async for raw in client:
        frames.append(json.loads(raw))
        if frames[-1]["type"] == kind:
            break
    return frames


def test_a_ping_comes_about_once_a_minute() -> None:
    async def talk() -> None:
        async with connected(FastClock(speed=200)) as client:
            await read_until(client, "ping")
            minute = await read_until(client, "ping")
            times = [trade["t"] for frame in minute[:-1] for trade in frame["data"]]
            assert 40_000 < max(times) - min(times) < 90_000

    asyncio.run(talk())


def test_after_a_pause_the_market_goes_on_at_the_present(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def talk() -> None:
        clock = FastClock(speed=10)
        async with connected(clock) as client:
            await read_until(client, "trade")
            clock.jumped_ms = 3_600_000
            times: list[int] = []
            while not times or times[-1] < START_MS + clock.jumped_ms:
                frame = (await read_until(client, "trade"))[-1]
                times += sorted(trade["t"] for trade in frame["data"])
            gap = [t for t in times if START_MS + 60_000 < t < START_MS + clock.jumped_ms - STEP_MS]
            assert gap == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(talk())
    assert "the market goes on at the present time" in caplog.text
