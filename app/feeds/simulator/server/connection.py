"""One client's connection: its subscriptions, and the frames that wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import Random

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from app.feeds.clock import Clock
from app.feeds.simulator.delivery_log.log import (
    MAX_RAW,
    Arrived,
    Delivery,
    Ended,
    Resumed,
    Sent,
    Silent,
    Subscribed,
    Unsubscribed,
)
from app.feeds.simulator.faults.frames import FrameFaults, OutgoingFrame
from app.feeds.simulator.faults.kinds import AnyFault
from app.feeds.simulator.faults.schedule import Script
from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.protocol import PING, TOO_MANY_SYMBOLS, client_message, trade_frames

PING_INTERVAL_MS = 60_000
MAX_QUEUED_FRAMES = 20_000
"""A client that is further behind is disconnected, because memory is limited."""
CONFIRM_TIMEOUT_S = 5.0
"""How long the end of a connection waits for the pong that confirms what was read."""
GOING_AWAY = 1001

log = logging.getLogger(__name__)


class Connection:
    """A WebSocket after its handshake.

    :param number: counts the server's connections; identifies this one in logs.
    :param on_delivery: receives every delivery. If given, pings confirm what was read.
    :ivar ended: set when no more data goes to the client or comes from it.
    """

    def __init__(
        self,
        socket: ServerConnection,
        number: int,
        *,
        clock: Clock,
        rng: Random,
        script: Script,
        max_symbols: int,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.symbols: dict[str, None] = {}
        self.ended = asyncio.Event()
        self._socket = socket
        self._number = number
        self._clock = clock
        self._rng = rng
        self._faults = FrameFaults(script, rng)
        self._max_symbols = max_symbols
        self._on_delivery = on_delivery
        self._waiting: asyncio.Queue[OutgoingFrame] = asyncio.Queue(MAX_QUEUED_FRAMES)
        self._sent = 0
        self._unconfirmed = asyncio.Event()
        self._all_read = asyncio.Event()
        self._all_read.set()
        self._closing = False
        self._silent_until_ms: float | None = None
        self._pings = True

    async def serve(self) -> None:
        """Read and write until the connection ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(work) for work in (self._send(), self._ping())]
                if self._on_delivery:
                    others.append(tasks.create_task(self._confirm_reads(self._on_delivery)))
                async for raw in self._socket:
                    self._handle(raw)
                for task in others:
                    task.cancel()
        except* ConnectionClosed as closed:
            log.info("connection %d is gone: %s", self._number, closed.exceptions[0])
        finally:
            self._end()

    def deliver(self, prints: Iterable[Print]) -> None:
        """Queue those of `prints` that the client has subscribed, and frames that were delayed."""
        now_ms = self._clock.now_ms()
        if self._silent_until_ms is not None and now_ms >= self._silent_until_ms:
            self._resume(now_ms)
        wanted = [trade for trade in prints if trade.s in self.symbols]
        going = self._faults.pass_on(trade_frames(wanted, self._rng), now_ms)
        if self._silent_until_ms is None and not self._closing:
            for out in going:
                self._queue(out)

    def begin(self, fault: AnyFault) -> None:
        """Send the frames that a fault sends at its beginning."""
        for out in self._faults.begin(fault, self._clock.now_ms()):
            self._queue(out)

    def stall(self, until_ms: float, pings: bool) -> None:
        """Send no trades until `until_ms`, and no pings unless `pings`; these trades are lost."""
        self._silent_until_ms, self._pings = until_ms, pings
        self._log_delivery(Silent(self._clock.now_ms(), self._number, "stall"))

    async def end(self, closing_handshake: bool) -> None:
        """End the connection once all frames sent have been read."""
        await self._drain()
        if closing_handshake:
            await self._socket.close(GOING_AWAY)
        else:
            self._socket.transport.abort()

    async def go_half_open(self) -> None:
        """Leave the connection open, but never read from it or write to it again."""
        await self._drain()
        self._log_delivery(Silent(self._clock.now_ms(), self._number, "half-open"))
        self._socket.transport.pause_reading()
        self.ended.set()

    def drop(self, why: str) -> None:
        """End the connection without a closing handshake."""
        log.warning("connection %d is dropped: %s", self._number, why)
        self._closing = True
        self._end()
        self._socket.transport.abort()

    def _resume(self, now_ms: int) -> None:
        self._silent_until_ms, self._pings = None, True
        self._log_delivery(Resumed(now_ms, self._number))

    async def _drain(self) -> None:
        """Stop sending, and wait until all frames sent have been read."""
        self._closing = True
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await self._all_read.wait()
        except TimeoutError:
            log.warning("connection %d does not confirm what it has read", self._number)

    def _end(self) -> None:
        self.symbols.clear()
        if not self.ended.is_set():
            self.ended.set()
            self._log_delivery(Ended(self._clock.now_ms(), self._number))

    def _handle(self, raw: str | bytes) -> None:
        try:
            message = client_message(raw)
        except (ValueError, RecursionError) as error:
            log.warning("connection %d sent %.80r, ignored: %s", self._number, raw, error)
            return
        now_ms, symbol = self._clock.now_ms(), message.symbol
        if message.type == "unsubscribe":
            if symbol in self.symbols:
                del self.symbols[symbol]
                self._log_delivery(Unsubscribed(now_ms, self._number, symbol))
        elif symbol in self.symbols or len(self.symbols) < self._max_symbols:
            if symbol not in self.symbols:
                self._log_delivery(Subscribed(now_ms, self._number, symbol))
            self.symbols[symbol] = None
        else:
            self._queue(OutgoingFrame(TOO_MANY_SYMBOLS))

    def _log_delivery(self, delivery: Delivery) -> None:
        if self._on_delivery:
            self._on_delivery(delivery)

    def _queue(self, out: OutgoingFrame) -> None:
        if self._closing:
            return
        try:
            self._waiting.put_nowait(out)
            self._all_read.clear()
        except asyncio.QueueFull:
            self.drop(f"it is {MAX_QUEUED_FRAMES} frames behind")

    async def _ping(self) -> None:
        while True:
            await self._clock.sleep(PING_INTERVAL_MS)
            if self._pings:
                self._queue(OutgoingFrame(PING))

    async def _send(self) -> None:
        while True:
            out = await self._waiting.get()
            await self._socket.send(out.raw, text=True)
            self._sent += 1
            if self._on_delivery:
                self._on_delivery(self._record(out))
                self._unconfirmed.set()
            elif self._waiting.empty():
                self._all_read.set()

    def _record(self, out: OutgoingFrame) -> Sent:
        return Sent(
            self._clock.now_ms(),
            self._number,
            self._sent,
            out.raw[:MAX_RAW].decode(),
            out.fault,
            out.repeat,
            out.broken,
            [*out.bad],
        )

    async def _confirm_reads(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Confirm by pong that all frames so far were read, one ping at a time."""
        while True:
            await self._unconfirmed.wait()
            self._unconfirmed.clear()
            frame = self._sent
            await (await self._socket.ping())
            on_delivery(Arrived(self._clock.now_ms(), self._number, frame))
            if frame == self._sent and self._waiting.empty():
                self._all_read.set()
