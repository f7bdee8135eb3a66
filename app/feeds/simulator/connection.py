"""One client's connection: what it subscribed to, and the frames that wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import Random

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from app.feeds.simulator.clock import Clock
from app.feeds.simulator.delivery import Arrived, Delivery, Ended, Sent
from app.feeds.simulator.prints import Print
from app.feeds.simulator.protocol import PING, TOO_MANY_SYMBOLS, client_message, trade_frames

PING_INTERVAL_MS = 60_000
MOST_WAITING_FRAMES = 2_000
"""A client that is further behind than this is dropped, as memory is finite."""

log = logging.getLogger(__name__)


class Connection:
    """A WebSocket behind its handshake.

    :param number: counts the server's connections; names this one in logs.
    :param note: told of every delivery, or None; with it, pings prove what arrived.
    """

    def __init__(
        self,
        socket: ServerConnection,
        number: int,
        *,
        clock: Clock,
        rng: Random,
        most_symbols: int,
        note: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.symbols: dict[str, None] = {}
        self._socket = socket
        self._number = number
        self._clock = clock
        self._rng = rng
        self._most_symbols = most_symbols
        self._note = note
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING_FRAMES)
        self._sent = 0
        self._proof: asyncio.Future[float] | None = None
        self._dropped = False

    async def serve(self) -> None:
        """Read and write until the connection ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self._send()), tasks.create_task(self._ping())]
                async for raw in self._socket:
                    self._take(raw)
                for task in others:
                    task.cancel()
        except* ConnectionClosed as closed:
            log.info("connection %d is gone: %s", self._number, closed.exceptions[0])
        finally:
            self.symbols.clear()
            if self._note:
                self._note(Ended(self._clock.now_ms(), self._number))

    def deliver(self, prints: Iterable[Print]) -> None:
        """Queue those of `prints` that the client has subscribed to."""
        wanted = [trade for trade in prints if trade.s in self.symbols]
        for frame in trade_frames(wanted, self._rng):
            self._queue(frame)

    def drop(self, why: str) -> None:
        """End the connection without a farewell."""
        log.warning("connection %d is dropped: %s", self._number, why)
        self._dropped = True
        self.symbols.clear()
        self._socket.transport.abort()

    def _take(self, raw: str | bytes) -> None:
        try:
            message = client_message(raw)
        except (ValueError, RecursionError) as error:
            log.warning("connection %d sent %.80r, ignored: %s", self._number, raw, error)
            return
        if message.type == "unsubscribe":
            self.symbols.pop(message.symbol, None)
        elif message.symbol in self.symbols or len(self.symbols) < self._most_symbols:
            self.symbols[message.symbol] = None
        else:
            self._queue(TOO_MANY_SYMBOLS)

    def _queue(self, frame: bytes) -> None:
        if self._dropped:
            return
        try:
            self._waiting.put_nowait(frame)
        except asyncio.QueueFull:
            self.drop(f"it is {MOST_WAITING_FRAMES} frames behind")

    async def _ping(self) -> None:
        while True:
            await self._clock.sleep(PING_INTERVAL_MS)
            self._queue(PING)

    async def _send(self) -> None:
        while True:
            frame = await self._waiting.get()
            await self._socket.send(frame, text=True)
            self._sent += 1
            if self._note:
                self._note(Sent(self._clock.now_ms(), self._number, self._sent, frame.decode()))
                await self._ask_for_proof(self._note)

    async def _ask_for_proof(self, note: Callable[[Delivery], None]) -> None:
        """Have a pong say that everything up to here was read, one question at a time."""
        if self._proof is None or self._proof.done():
            frame = self._sent
            pong = await self._socket.ping()
            self._proof = asyncio.ensure_future(pong)

            def proved(answer: asyncio.Future[float]) -> None:
                if not answer.cancelled() and answer.exception() is None:
                    note(Arrived(self._clock.now_ms(), self._number, frame))

            self._proof.add_done_callback(proved)
