"""A simulator in this process, on virtual time, and a plain client of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.feeds.simulator.delivery_log.log import Arrived, Delivery, Sent
from app.feeds.simulator.faults.kinds import AnyFault, parse_fault
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.server.command import address, listen
from app.feeds.simulator.server.server import Simulator
from tests.virtual_time import LoopClock

START_MS = 1_780_000_020_000
"""A full minute."""
TOKEN = "marker-token"


class Simulated(NamedTuple):
    """A running simulator: where it listens, its clock, and the deliveries that it logs."""

    at: str
    clock: LoopClock
    deliveries: list[Delivery]
    market: asyncio.Task[None]

    def close_market(self) -> None:
        """No more trades, from nobody."""
        self.market.cancel()

    def connect(self, **options: Any) -> connect:
        return connect(
            f"ws://{self.at}?token={TOKEN}", ping_interval=None, max_size=None, **options
        )

    def sent(self, connection: int = 1) -> list[Sent]:
        """The frames that were sent on a connection."""
        return [
            delivery
            for delivery in self.deliveries
            if isinstance(delivery, Sent) and delivery.connection == connection
        ]

    def confirmed(self, connection: int = 1) -> int:
        """How many of them provably arrived."""
        return max(
            (
                delivery.frame
                for delivery in self.deliveries
                if isinstance(delivery, Arrived) and delivery.connection == connection
            ),
            default=0,
        )


@contextlib.asynccontextmanager
async def simulated(
    *texts: str,
    faults: Iterable[AnyFault] = (),
    rate: float = 50.0,
    seed: int = 1,
    symbols_per_connection: int = 50,
    start_ms: int = START_MS,
) -> AsyncIterator[Simulated]:
    """A simulator whose clock begins at `start_ms`.

    :param texts: faults as the command line has them.
    """
    clock = LoopClock(start_ms)
    deliveries: list[Delivery] = []
    simulator = Simulator(
        Exchange(seed, rate, clock.now_ms()),
        clock,
        tokens=[TOKEN],
        seed=seed,
        symbols_per_connection=symbols_per_connection,
        calls_per_minute=0,
        faults=[*faults, *map(parse_fault, texts)],
        on_delivery=deliveries.append,
    )
    async with await listen(simulator, "127.0.0.1", 0) as server:
        market = asyncio.create_task(simulator.play())
        try:
            yield Simulated(address(server), clock, deliveries, market)
        finally:
            market.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await market  # a market that came to grief is nobody's silence


class Received(NamedTuple):
    """A frame as a client received it."""

    at_s: float
    raw: str

    @property
    def trades(self) -> list[dict[str, Any]]:
        """The trades of the frame, if it has any."""
        frame = json.loads(self.raw)
        return frame.get("data", []) if isinstance(frame, dict) else []


async def subscribe(client: ClientConnection, symbols: Iterable[str]) -> None:
    for symbol in symbols:
        await client.send(json.dumps({"type": "subscribe", "symbol": symbol}))


async def receive(client: ClientConnection, until_s: float) -> list[Received]:
    """What comes until second `until_s` of the simulator, or the end of the connection."""
    received = []
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout_at(until_s):
            while True:
                raw = await client.recv()
                assert isinstance(raw, str)
                received.append(Received(loop.time(), raw))
    return received
