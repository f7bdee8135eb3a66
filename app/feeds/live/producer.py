"""The producer: publish a vendor's trades and quotes to stocks-topic."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from random import Random
from subprocess import SubprocessError

from app.contracts import Quote, RejectionRecord
from app.feeds.clock import Clock
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE, CheckpointStore, stored_checkpoint
from app.feeds.live.connection import CLOSE_TIMEOUT_S, FeedConnection
from app.feeds.live.quotes import QuotePoller
from app.feeds.live.recorder import Recorder
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.live.source import source_name
from app.feeds.live.staleness import market_open
from app.feeds.live.subscriptions import spread
from app.feeds.live.symbols import SymbolsFile, wanted_symbols
from app.feeds.messages.outgoing import Outgoing
from app.feeds.outbox.outbox import Outbox
from app.feeds.vendor import BadKeyError, Vendor
from app.market.days import load_trading_days
from app.market.sessions import trading_day
from app.rejection_log import RejectionLog
from app.settings import Settings
from app.topics import await_topics

_SECOND_MS = 1_000
_DAYS_AHEAD = 800
"""How many days of the calendar are computed at the start; a longer run loads it later."""

log = logging.getLogger(__name__)


class Producer:
    """The tasks of a running producer: connections (one per API key), a tick per second, quotes.

    Create and run it in one event loop. All of its tasks use `clock` and `rng`: with
    `SteadyClock(speed=30)` it runs thirty times as fast. Only waiting for Kafka and for REST
    responses takes real time.
    """

    def __init__(
        self,
        settings: Settings,
        vendor: Vendor,
        clock: Clock,
        rng: Random,
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._vendor = vendor
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        self._symbols_file = SymbolsFile(settings)
        symbols = wanted_symbols(settings)
        settings.home.mkdir(parents=True, exist_ok=True)
        checkpoint_path = settings.home / CHECKPOINT_FILE
        checkpoint = stored_checkpoint(checkpoint_path)
        server = settings.finnhub_websocket_url
        self._feed_known = asyncio.Event()
        self._knows_server = checkpoint is not None and checkpoint.server == server
        self._knows_sessions = False
        self._market_open = market_open(settings.tickhouse_feed)
        self._session = FeedSession(
            SessionConfig.of(settings, source_name(settings)),
            symbols=symbols,
            clock=clock,
            parse_frame=vendor.parse_frame,
            checkpoint=checkpoint,
            is_open=self._is_open,
        )
        self._outbox = Outbox(settings, self._session.lost)
        self._rejections = RejectionLog(settings.finnhub_keys)
        self._checkpoints = CheckpointStore(checkpoint_path, self._session, self._outbox, server)
        self._connections = [self._new_connection(n + 1) for n in range(vendor.connections)]
        self._assigned: dict[str, int] = {}
        self._assign(symbols)
        if recorder:
            recorder.started(settings.tickhouse_feed, symbols)

    async def run(self, stop: asyncio.Event) -> None:
        """Produce until `stop` is set; then unsubscribe, flush, and log the totals.

        Nothing is published before the server is known to provide the namespace's feed, either from
        its first handshake or from the checkpoint of an earlier run with the same server.
        """
        if self._knows_server:
            self._begin_feed()
        stopped = threading.Event()
        ended = asyncio.create_task(_wait(stop))
        connections = [
            asyncio.create_task(self._keep_up(connection)) for connection in self._connections
        ]
        others = [self._await_kafka(stopped), self._tick(), self._bring_quotes()]
        tasks = [ended, *connections, *map(asyncio.create_task, others)]
        waiting: set[asyncio.Future[None]] = {self._outbox.failure, *tasks}
        try:
            while not ended.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopped.set()
            await asyncio.gather(*(connection.end() for connection in self._connections))
            await asyncio.wait(connections, timeout=CLOSE_TIMEOUT_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._offer(self._session.end())
            self._rejections.flush()
            counts = self._session.counts
            await self._outbox.finish(counts["repeated_frames"], counts["trades"])
            if self._feed_known.is_set():
                await self._checkpoints.finish()
            self._outbox.check()

    def _begin_feed(self) -> None:
        """Send what is due since the previous run, once the server's feed is known."""
        if not self._feed_known.is_set():
            self._feed_known.set()
            self._offer(self._session.resume())

    def read_symbols(self) -> None:
        """Read the symbols file now, even if it appears unchanged."""
        if self._settings.stocks_symbols_file is None:
            log.warning("STOCKS_SYMBOLS_FILE is not set: the symbols cannot change while this runs")
        self._follow_symbols(at_once=True)

    async def _await_kafka(self, stopped: threading.Event) -> None:
        """Send nothing before the topics exist; until then messages wait in order."""
        if await asyncio.to_thread(await_topics, self._settings, stopped.is_set):
            self._outbox.topics_ready()

    async def _keep_up(self, connection: FeedConnection) -> None:
        """Run a connection; if its key is rejected, other connections take over its symbols."""
        try:
            await connection.run()
        except BadKeyError as error:
            if len(self._connections) == 1:
                raise
            log.error("key %d of FINNHUB_API_KEY: %s", connection.number, error)
            self._connections.remove(connection)
            self._assigned.clear()
            self._assign(self._session.symbols)

    async def _tick(self) -> None:
        """Do each second's work: Kafka's reports, watermarks, changed symbols, the checkpoint."""
        while True:
            await self._clock.sleep(_SECOND_MS)
            self._outbox.serve()
            if not (self._outbox.writable.is_set() and self._feed_known.is_set()):
                continue  # reported later, in order, once there is room
            self._follow_symbols()
            if self._recorder:
                self._recorder.second()
            self._offer(self._session.each_second())
            self._rejections.log_if_due(self._clock.now_ms())
            if self._recorder:
                self._recorder.flush()  # slow: must not run between a tick and its record
            self._log_stale()
            self._checkpoints.each_second()

    def _follow_symbols(self, at_once: bool = False) -> None:
        symbols = self._symbols_file.changed(at_once)
        if symbols is None:
            return
        before = self._session.symbols
        added = [symbol for symbol in symbols if symbol not in before]
        removed = [symbol for symbol in before if symbol not in symbols]
        if not added and not removed:
            return
        log.info("symbols: added %s; removed %s", _listed(added), _listed(removed))
        self._session.add(added)
        self._session.remove(removed)
        if self._recorder:
            self._recorder.changed(added, removed)
        self._assign(symbols)

    def _assign(self, symbols: tuple[str, ...]) -> None:
        """Assign each symbol to a connection, keeping existing assignments."""
        most = self._settings.finnhub_symbols_per_connection
        self._assigned = spread(symbols, len(self._connections), most, self._assigned)
        for index, connection in enumerate(self._connections):
            connection.symbols = tuple(s for s in symbols if self._assigned.get(s) == index)
        if left := [symbol for symbol in symbols if symbol not in self._assigned]:
            log.warning(
                "%d symbols are more than %d connections of %d take (FINNHUB_API_KEY, "
                "FINNHUB_SYMBOLS_PER_CONNECTION); these have quotes only: %s",
                len(symbols),
                len(self._connections),
                most,
                _listed(left),
            )

    def _log_stale(self) -> None:
        now_ms = self._clock.now_ms()
        for symbol, silent_ms in self._session.activity.newly_stale(self._session.symbols, now_ms):
            log.warning(
                "%s: no trade for %d s, far longer than typical, though its market is open",
                symbol,
                silent_ms // 1000,
            )

    def _new_connection(self, number: int) -> FeedConnection:
        return FeedConnection(
            self._vendor,
            number,
            feed=self._settings.tickhouse_feed,
            session=self._session,
            clock=self._clock,
            rng=self._rng,
            offer=self._offer,
            on_feed=self._begin_feed,
            may_read=self._outbox.writable,
            on_date=self._date_received,
            recorder=self._recorder,
        )

    def _date_received(self, date_ms: int, sent_ms: int, received_ms: int) -> None:
        """Process a time that the vendor's server reported."""
        if self._recorder:
            self._recorder.date(date_ms, sent_ms, received_ms)
        self._offer(self._session.server_date(date_ms, sent_ms, received_ms))

    def _publish(self, message: Quote | RejectionRecord) -> None:
        self._offer([message])

    def _offer(self, messages: list[Outgoing]) -> None:
        self._rejections.add(messages)
        self._outbox.offer(messages)

    async def _bring_quotes(self) -> None:
        """Load the trading calendar, which takes a second or two; then poll quotes."""
        if self._settings.tickhouse_feed == "live":
            await asyncio.to_thread(_load_trading_days, self._clock.now_ms())
        self._knows_sessions = True
        await self._feed_known.wait()
        await self._poller().run()

    def _is_open(self, symbol: str, at_ms: int) -> bool:
        return self._knows_sessions and self._market_open(symbol, at_ms)

    def _poller(self) -> QuotePoller:
        return QuotePoller(
            self._vendor.quotes(self._clock, self._rng, self._date_received),
            self._vendor.parse_quote,
            lambda: self._session.symbols,
            feed=self._settings.tickhouse_feed,
            source=self._session.source,
            clock=self._clock,
            publish=self._publish,
            last_trade_ms=self._session.activity.last_ms,
            recorder=self._recorder,
        )


def _load_trading_days(now_ms: int) -> None:
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    try:
        load_trading_days(today - timedelta(days=4), today + timedelta(days=_DAYS_AHEAD))
    except (OSError, SubprocessError) as error:
        log.warning("the calendar is loaded into this process, as another failed: %s", error)
        trading_day(today.isoformat())


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _listed(symbols: list[str]) -> str:
    return ", ".join(symbols) or "none"
