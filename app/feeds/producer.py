"""`tickhouse produce`: Finnhub's trades and quotes into stocks-topic, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.contracts import STOCKS_TOPIC, Quote, Rejected
from app.errors import TickhouseError
from app.feeds.clock import Clock, SteadyClock
from app.feeds.coverage import Mark, load_mark, store_mark
from app.feeds.intake import Intake, Outgoing
from app.feeds.publisher import Publisher, PublishError
from app.feeds.quotes import QuotePoller, finnhub_quotes
from app.feeds.source import SourceError, check_feed, only_one, source_name
from app.feeds.websocket import Backoff, FeedSocket, Unavailable, open_socket
from app.settings import Settings
from app.topics import await_topics

MARK_FILE = "coverage-mark.json"
FLUSH_S = 3.0
"""Together with the farewell to the server this is less than the 5 s a stop may take."""
FAREWELL_S = 1.0
PROVEN_MS = 10_000
"""A connection that lived this long is replaced at once when it ends."""
_ROOM_POLL_S = 0.02

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Feed stocks-topic until SIGTERM or SIGINT.

    :raises TickhouseError: the key is missing or refused, the namespace holds another feed, another
        producer runs on this data folder, a topic is not as it must be, or Kafka refuses messages.
    """
    check_feed(settings, "live", "simulated")
    _check_address(settings)
    with only_one(settings, "produce"):
        asyncio.run(_run(settings, SteadyClock(), Random()))


def _check_address(settings: Settings) -> None:
    if settings.finnhub_api_key is None:
        raise SourceError(
            "FINNHUB_API_KEY is not set. Get a free key at finnhub.io, or use the simulated feed "
            "(`make demo`)."
        )
    host = urlsplit(settings.finnhub_websocket_url).hostname or ""
    if settings.tickhouse_feed == "simulated" and host.endswith("finnhub.io"):
        raise SourceError(
            f"TICKHOUSE_FEED is simulated, but FINNHUB_WEBSOCKET_URL is {host}, the live feed. Set "
            "it to where `tickhouse simulate` listens, or TICKHOUSE_FEED=live."
        )


async def _run(settings: Settings, clock: Clock, rng: Random) -> None:
    stop = asyncio.Event()
    stopped = threading.Event()

    def stop_now() -> None:
        stopped.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_now)
    if not await asyncio.to_thread(await_topics, settings, stopped.is_set):
        log.info("stopped before Kafka answered; nothing was taken in")
        return
    await Producer(settings, clock, rng).run(stop)


class Producer:
    """The tasks of a running producer: the socket, the second's beat, the quotes."""

    def __init__(self, settings: Settings, clock: Clock, rng: Random) -> None:
        assert settings.finnhub_api_key is not None
        self._settings = settings
        self._url = settings.finnhub_websocket_url
        self._token = settings.finnhub_api_key.get_secret_value()
        self._clock = clock
        self._rng = rng
        self._mark_path = settings.home / MARK_FILE
        self._mark_path.parent.mkdir(parents=True, exist_ok=True)
        self._publisher = Publisher(settings)
        self._intake = Intake(
            feed=settings.tickhouse_feed,
            source=source_name(settings),
            symbols=settings.stocks_symbols,
            grace_ms=settings.candle_grace_ms,
            horizon_ms=settings.candle_horizon_ms,
            clock=clock,
            drop_repeats=settings.finnhub_drop_repeated_frames,
            mark=_stored_mark(self._mark_path),
        )
        self._socket: FeedSocket | None = None
        self._ending = False
        self._mark_failed = False
        self._room = asyncio.Event()
        self._room.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set or something ends it; what was taken in is flushed."""
        self._offer(self._intake.resume())
        quotes = self._start_quotes()
        listening = asyncio.create_task(self._listen())
        beating = asyncio.create_task(self._beat())
        tasks: list[asyncio.Task[Any]] = [listening, beating, asyncio.create_task(stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            quotes.stop()
            await self._farewell(listening)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._flush()

    async def _listen(self) -> None:
        """Connection after connection, for ever."""
        backoff = Backoff(self._rng)
        status = None
        number = 0
        while not self._ending:
            wait_s = backoff.next_s(status)
            if wait_s:
                log.info("connecting again in %.1f s", wait_s)
            await asyncio.sleep(wait_s)
            number += 1
            status = None
            since_ms = self._clock.now_ms()
            try:
                await self._converse(f"{self._intake.source}-{since_ms:x}-{number}")
            except Unavailable as error:
                status = error.status
                log.log(logging.INFO if self._ending else logging.WARNING, "the feed: %s", error)
            if self._clock.now_ms() - since_ms >= PROVEN_MS:
                backoff.reset()

    async def _converse(self, connection: str) -> None:
        """One connection, from its opening to its end."""
        socket = await open_socket(self._url, self._token)
        self._check_feed_of(socket)
        self._socket = socket
        try:
            await socket.subscribe(self._intake.symbols)
            self._intake.connected(connection)
            log.info("connected as %s, %d symbols", connection, len(self._intake.symbols))
            async for raw in socket.frames():
                self._offer(self._intake.frame(raw))
                await self._room.wait()
        finally:
            self._socket = None
            self._offer(self._intake.disconnected())
            socket.abort()

    def _check_feed_of(self, socket: FeedSocket) -> None:
        if socket.feed is not None and socket.feed != self._settings.tickhouse_feed:
            socket.abort()
            raise SourceError(
                f"The server at FINNHUB_WEBSOCKET_URL says its feed is {socket.feed}, but "
                f"TICKHOUSE_FEED is {self._settings.tickhouse_feed}; feeds are never mixed. "
                "Correct one of them, with a TICKHOUSE_NAMESPACE of its own."
            )

    async def _beat(self) -> None:
        """Each second: Kafka's news, a look whether the feed is silent, watermarks, the mark."""
        while True:
            await asyncio.sleep(1.0)
            self._publisher.serve()
            if not self._room.is_set():
                continue  # what happens meanwhile is told, in its order, when there is room again
            if self._socket is not None and self._intake.is_silent():
                log.warning("no frame and no ping for three minutes: connecting anew")
                self._socket.abort()
                continue
            self._offer(self._intake.each_second())
            self._store_mark()

    def _store_mark(self) -> None:
        """Keep how far the feed is covered; a full disk is no reason to stop taking trades in."""
        try:
            store_mark(self._mark_path, self._intake.mark())
        except OSError as error:
            if not self._mark_failed:
                log.error("%s cannot be written: %s. Make room there.", self._mark_path, error)
            self._mark_failed = True
        else:
            self._mark_failed = False

    def _offer(self, messages: list[Outgoing]) -> None:
        """Send in order; without room the socket is not read and nothing else is made."""
        if not self._publisher.offer(messages) and self._room.is_set():
            self._room.clear()
            log.warning("the queue for Kafka is full; the feed is held back until there is room")
            self._waiting = asyncio.create_task(self._wait_for_room())

    async def _wait_for_room(self) -> None:
        while not self._publisher.settle():
            await asyncio.sleep(_ROOM_POLL_S)
        self._room.set()

    def _start_quotes(self) -> QuotePoller:
        loop = asyncio.get_running_loop()

        def publish(message: Quote | Rejected) -> None:
            messages: list[Outgoing] = [message]
            with suppress(RuntimeError):  # the loop is closed: the producer has ended meanwhile
                loop.call_soon_threadsafe(self._offer, messages)

        poller = QuotePoller(
            finnhub_quotes(self._settings),
            self._intake.symbols,
            feed=self._settings.tickhouse_feed,
            source=self._intake.source,
            clock=self._clock,
            rng=self._rng,
            publish=publish,
        )
        poller.start()
        return poller

    async def _farewell(self, listening: asyncio.Task[None]) -> None:
        """Unsubscribe, say farewell, and take in what was on its way."""
        self._ending = True
        if self._socket is not None:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._socket.unsubscribe(self._intake.symbols)
                    await self._socket.close()
            await asyncio.wait([listening], timeout=FAREWELL_S)

    async def _flush(self) -> None:
        """Store the mark, wait for Kafka, and say what was done."""
        self._store_mark()
        left = await asyncio.to_thread(self._publisher.flush, FLUSH_S)
        counts, sent = self._intake.counts, self._publisher.sent
        log.info(
            "flushed: %d trades in %d messages, %d watermarks, %d quotes, %d rejections; "
            "%d repeated frames were dropped",
            counts["trades"],
            sent["Trades"],
            sent["Watermark"],
            sent["Quote"],
            sent["Rejected"],
            counts["repeated_frames"],
        )
        if left or self._publisher.failed:
            raise PublishError(
                f"{left + self._publisher.failed} messages did not reach "
                f"{self._settings.named(STOCKS_TOPIC)}: Kafka at {self._settings.kafka_brokers} "
                "did not take them in time."
            )


def _stored_mark(path: Path) -> Mark | None:
    try:
        return load_mark(path)
    except (msgspec.DecodeError, OSError) as error:
        raise TickhouseError(
            f"The coverage mark {path} cannot be read ({error}). Delete it; the minutes that the "
            "producer was away are then not told as dark."
        ) from None
