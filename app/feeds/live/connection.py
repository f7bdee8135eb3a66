"""Keep one streaming connection per API key open: connect, monitor, replace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

from app.contracts import FeedName
from app.feeds.clock import Clock
from app.feeds.live.backoff import Backoff
from app.feeds.live.recorder import Recorder
from app.feeds.live.session import FeedSession
from app.feeds.live.source import SourceError
from app.feeds.live.staleness import abbreviated
from app.feeds.messages.outgoing import Outgoing
from app.feeds.vendor import FeedSocket, OnDate, Unavailable, Vendor

STABLE_MS = 10_000
"""After a connection that lasted this long, the next attempt is made at once."""
CLOSE_TIMEOUT_S = 1.0
SEND_TIMEOUT_S = 10.0
"""A server that accepts no data for this long is considered dead."""
FRAMES_AT_ONCE = 64
"""How many frames waiting in the socket may be coalesced before they are sent."""
_SECOND_MS = 1_000

log = logging.getLogger(__name__)


class FeedConnection:
    """The connections of one API key, one after the other.

    :param number: the vendor's connection number, from 1; part of connection names and log lines.
    :param offer: receives the messages to send, in order.
    :param may_read: cleared while nothing more may be read from the socket.
    :param on_feed: called once the server of a new connection is known to provide `feed`, before
        any of its frames is processed.
    :param on_date: receives the server's time from a handshake (`app.feeds.vendor.OnDate`).
    :param recorder: receives every event, if given.
    :ivar symbols: the symbols to subscribe; may be changed at any time.
    """

    def __init__(
        self,
        vendor: Vendor,
        number: int,
        *,
        feed: FeedName,
        session: FeedSession,
        clock: Clock,
        rng: Random,
        offer: Callable[[list[Outgoing]], None],
        may_read: asyncio.Event,
        on_feed: Callable[[], None],
        on_date: OnDate,
        recorder: Recorder | None = None,
    ) -> None:
        self.number = number
        self.symbols: tuple[str, ...] = ()
        self._vendor = vendor
        self._feed = feed
        self._session = session
        self._clock = clock
        self._rng = rng
        self._offer = offer
        self._may_read = may_read
        self._on_feed = on_feed
        self._on_date = on_date
        self._recorder = recorder
        self._socket: FeedSocket | None = None
        self._ending = False

    async def run(self) -> None:
        """Open one connection after the other, until `end` is called.

        :raises BadKeyError: the vendor rejects the API key.
        :raises SourceError: the server provides another feed.
        """
        backoff = Backoff(self._rng)
        status, asked_ms = None, None
        number = 0
        while not self._ending:
            wait_s = backoff.next_s(status, asked_ms)
            if wait_s:
                log.info("connection %d reconnects in %.1f s", self.number, wait_s)
            await self._clock.sleep(wait_s * 1_000)
            number += 1
            status, asked_ms = None, None
            since_ms = self._clock.now_ms()
            try:
                await self._run_once(f"{self._session.source}-{since_ms:x}-{self.number}-{number}")
            except Unavailable as error:
                status = error.status
                asked_ms = error.retry_after.wait_ms(self._clock.now_ms())
                level = logging.INFO if self._ending else logging.WARNING
                log.log(level, "connection %d: %s", self.number, error)
            if self._clock.now_ms() - since_ms >= STABLE_MS:
                backoff.reset()

    async def end(self) -> None:
        """Unsubscribe and close; `run` returns once the remaining frames are processed."""
        self._ending = True
        socket = self._socket
        if socket is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await socket.unsubscribe(self.symbols)
                await socket.close()
        except (Unavailable, TimeoutError):
            socket.abort()

    async def _run_once(self, connection: str) -> None:
        """Run one connection until it ends."""
        sent_ms = self._clock.now_ms()
        socket = await self._vendor.connect(self.number)
        self._check_feed_of(socket)
        self._on_feed()
        if socket.date_ms is not None:
            self._on_date(socket.date_ms, sent_ms, self._clock.now_ms())
        self._socket = socket
        watching: asyncio.Task[None] | None = None
        try:
            asked = self.symbols
            async with _in_time():
                await socket.subscribe(asked)
            self._session.connected(connection, asked)
            if self._recorder:
                self._recorder.opened(connection, asked)
            log.info("connected as %s, %d symbols", connection, len(asked))
            watching = asyncio.create_task(self._watch(socket, connection, dict.fromkeys(asked)))
            watching.add_done_callback(lambda _: socket.abort())
            await self._listen(socket, connection)
        finally:
            self._socket = None
            if self._recorder:
                self._recorder.closed(connection)
            self._offer(self._session.disconnected(connection))
            socket.abort()
            if watching is not None:
                await _ended(watching)

    async def _listen(self, socket: FeedSocket, connection: str) -> None:
        count = 0
        async for raw in socket.frames():
            if self._recorder:
                self._recorder.frame(connection, raw)
            self._offer(self._session.frame(raw, connection))
            if not self._may_read.is_set():
                await self._may_read.wait()
            count += 1
            if not count % FRAMES_AT_ONCE:
                await asyncio.sleep(0)  # reading buffered frames does not yield to other tasks

    async def _watch(self, socket: FeedSocket, connection: str, asked: dict[str, None]) -> None:
        """Check each second that the connection is alive and its subscriptions are current.

        Return when the connection is dead.
        """
        while True:
            await self._clock.sleep(_SECOND_MS)
            if not self._may_read.is_set():
                continue  # unread data says nothing about the server
            if self._is_dead(connection):
                return
            try:
                async with _in_time():
                    await self._keep_subscribed(socket, connection, asked)
            except Unavailable:
                return  # the listening task gets the error, too

    def _is_dead(self, connection: str) -> bool:
        if self._session.is_silent(connection):
            log.warning(
                "connection %d: no frame and no ping for three minutes, reconnecting",
                self.number,
            )
            return True
        stalls = self._session.stalls(connection)
        for stall in stalls:
            log.warning(
                "connection %d: no trade of %s for %d s though the market is open, reconnecting",
                self.number,
                abbreviated(stall.symbols),
                stall.silent_ms // 1000,
            )
        return bool(stalls)

    async def _keep_subscribed(
        self, socket: FeedSocket, connection: str, asked: dict[str, None]
    ) -> None:
        """Apply changes of `symbols`, and find the ones that the server rejected."""
        wanted = dict.fromkeys(self.symbols)
        if removed := [symbol for symbol in asked if symbol not in wanted]:
            await socket.unsubscribe(removed)
            if self._recorder:
                self._recorder.unsubscribed(connection, removed)
            for symbol in (*removed, *self._session.rejected_symbols(connection)):
                asked.pop(symbol, None)  # a rejected symbol may fit now
        if new := [symbol for symbol in wanted if symbol not in asked]:
            await socket.subscribe(new)
            self._session.subscribed(connection, new)
            if self._recorder:
                self._recorder.subscribed(connection, new)
            asked |= dict.fromkeys(new)
        again, rejected, corrections = self._session.find_rejected(connection)
        if rejected and self._recorder:
            self._recorder.rejected(connection, rejected)
        self._offer(corrections)
        await socket.subscribe(again)

    def _check_feed_of(self, socket: FeedSocket) -> None:
        if socket.feed is not None and socket.feed != self._feed:
            socket.abort()
            raise SourceError(
                f"The server at FINNHUB_WEBSOCKET_URL reports the feed {socket.feed}, but "
                f"TICKHOUSE_FEED is {self._feed}; feeds are never mixed. "
                "Correct one of them, with a TICKHOUSE_NAMESPACE of its own."
            )


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            yield
    except TimeoutError:
        raise Unavailable("the server takes nothing that is sent to it") from None


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel `task` if it still runs; raise the error it ended with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
