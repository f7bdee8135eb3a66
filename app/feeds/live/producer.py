"""`tickhouse produce`: Finnhub's trades and quotes into stocks-topic, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from subprocess import SubprocessError
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from app.contracts import Quote, RejectionRecord
from app.errors import TickhouseError
from app.feeds.clock import Clock, SteadyClock
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import FinnhubRest, RestCalls
from app.feeds.finnhub.subscriptions import spread
from app.feeds.finnhub.websocket import BadKeyError
from app.feeds.live.connection import FAREWELL_S, Line
from app.feeds.live.coverage import Mark, load_mark, store_mark
from app.feeds.live.quotes import QuotePoller
from app.feeds.live.recording import Recorder
from app.feeds.live.session import Intake
from app.feeds.live.source import SourceError, check_feed, only_one, only_user, source_name
from app.feeds.live.staleness import market_open
from app.feeds.live.symbols import SymbolsFile, wanted_symbols
from app.feeds.outbox.outbox import SPILL_FILE, Outlet
from app.market.days import learn_days
from app.market.sessions import trading_day
from app.outputs import check_output
from app.settings import Settings
from app.topics import await_topics

MARK_FILE = "coverage-mark.json"
_SECOND_MS = 1_000
_DAYS_AHEAD = 800
"""So many days are worked out at the start; who runs longer loads the calendar then."""

log = logging.getLogger(__name__)


def run(settings: Settings, record: Path | None = None) -> None:
    """Feed stocks-topic until SIGTERM or SIGINT; SIGHUP reads the file of symbols again.

    :param record: a file that every frame is added to as it came (`app.feeds.live.recording`).
    :raises TickhouseError: the key is missing, refused or in use, the namespace holds another feed,
        another producer runs on this data folder, a topic is not as it must be, Kafka takes no more
        messages or has refused some for good, or `record` is a file of something else.
    """
    check_feed(settings, "live", "simulated")
    _check_address(settings)
    if record:
        kept = (settings.home / name for name in (MARK_FILE, SPILL_FILE, "produce.lock"))
        check_output("--record", record, [*settings.own_files, *kept])
    clock = SteadyClock()
    with only_one(settings, "produce"), only_user(settings):
        recorder = Recorder(record, clock) if record else None
        try:
            asyncio.run(_run(settings, clock, Random(), recorder))
        finally:
            if recorder:
                recorder.close()


def _check_address(settings: Settings) -> None:
    if not settings.finnhub_keys:
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


async def _run(settings: Settings, clock: Clock, rng: Random, recorder: Recorder | None) -> None:
    producer = Producer(settings, clock, rng, recorder)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, producer.read_symbols)
    await producer.run(stop)


class _PendingMark(NamedTuple):
    """A mark that may be stored when message `number` has arrived and no loss was found since."""

    number: int
    corrections: int
    mark: Mark


class Producer:
    """The tasks of a running producer: a line for each key, the second's beat, the quotes.

    To be made and run in one event loop.

    Everything in it goes by `clock` and `rng`: with `SteadyClock(speed=30)` it lives thirty times
    as fast. Only what waits for Kafka, or for an answer to REST, takes its real time.
    """

    def __init__(
        self, settings: Settings, clock: Clock, rng: Random, recorder: Recorder | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        self._symbols_file = SymbolsFile(settings)
        symbols = wanted_symbols(settings)
        settings.home.mkdir(parents=True, exist_ok=True)
        self._mark_path = settings.home / MARK_FILE
        self._mark_failed = False
        self._pending_mark: _PendingMark | None = None
        self._storing: asyncio.Task[None] | None = None
        self._knows_sessions = False
        self._market_open = market_open(settings.tickhouse_feed)
        self._intake = Intake(
            feed=settings.tickhouse_feed,
            source=source_name(settings),
            symbols=symbols,
            grace_ms=settings.candle_grace_ms,
            horizon_ms=settings.candle_horizon_ms,
            clock=clock,
            drop_repeats=settings.finnhub_drop_repeated_frames,
            mark=_stored_mark(self._mark_path),
            silence_ms=round(settings.finnhub_silence_s * 1000),
            is_open=self._is_open,
        )
        self._outlet = Outlet(settings, self._intake.lost)
        self._lines = [self._line(n) for n, _ in enumerate(settings.finnhub_keys, start=1)]
        self._places: dict[str, int] = {}
        self._place(symbols)
        if recorder:
            recorder.started(settings.tickhouse_feed, symbols)

    async def run(self, stop: asyncio.Event) -> None:
        """Produce until `stop` is set; then unsubscribe, flush, and say what was flushed."""
        self._outlet.offer(self._intake.resume())
        stopped = threading.Event()
        ended = asyncio.create_task(_wait(stop))
        lines = [asyncio.create_task(self._keep_up(line)) for line in self._lines]
        others = [self._await_kafka(stopped), self._beat(), self._bring_quotes()]
        tasks = [ended, *lines, *map(asyncio.create_task, others)]
        waiting: set[asyncio.Future[None]] = {self._outlet.broken, *tasks}
        try:
            while not ended.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        finally:
            stopped.set()
            await asyncio.gather(*(line.end() for line in self._lines))
            await asyncio.wait(lines, timeout=FAREWELL_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._outlet.offer(self._intake.end())
            counts = self._intake.counts
            await self._outlet.finish(counts["repeated_frames"], counts["trades"])
            if self._storing is not None:
                await self._storing
            await self._store(self._intake.mark())
            self._outlet.check()

    def read_symbols(self) -> None:
        """Read the file of symbols now, whether it looks changed or not."""
        if self._settings.stocks_symbols_file is None:
            log.warning("STOCKS_SYMBOLS_FILE is not set: the symbols cannot change while this runs")
        self._follow_symbols(at_once=True)

    async def _await_kafka(self, stopped: threading.Event) -> None:
        """Send nothing before the topics are there; what comes meanwhile waits in its order."""
        if await asyncio.to_thread(await_topics, self._settings, stopped.is_set):
            self._outlet.begin()

    async def _keep_up(self, line: Line) -> None:
        """Run a line; if its key is refused and others are left, they take its symbols."""
        try:
            await line.run()
        except BadKeyError as error:
            if len(self._lines) == 1:
                raise
            log.error("key %d of FINNHUB_API_KEY: %s", line.number, error)
            self._lines.remove(line)
            self._places.clear()
            self._place(self._intake.symbols)

    async def _beat(self) -> None:
        """Each second: Kafka's news, watermarks, changes of the symbols, the mark."""
        while True:
            await self._clock.sleep(_SECOND_MS)
            self._outlet.serve()
            if not self._outlet.room.is_set():
                continue  # what happens meanwhile is told, in its order, when there is room again
            self._follow_symbols()
            if self._recorder:
                self._recorder.second()
            self._outlet.offer(self._intake.each_second())
            if self._recorder:
                self._recorder.flush()  # it takes time, which must not part a second and its note
            self._note_stale()
            self._mark_delivered()

    def _follow_symbols(self, at_once: bool = False) -> None:
        symbols = self._symbols_file.changed(at_once)
        if symbols is None:
            return
        before = self._intake.symbols
        added = [symbol for symbol in symbols if symbol not in before]
        removed = [symbol for symbol in before if symbol not in symbols]
        if not added and not removed:
            return
        log.info("symbols: added %s; removed %s", _listed(added), _listed(removed))
        self._intake.add(added)
        self._intake.remove(removed)
        if self._recorder:
            self._recorder.changed(added, removed)
        self._place(symbols)

    def _place(self, symbols: tuple[str, ...]) -> None:
        """Give each symbol its line; who has one keeps it."""
        most = self._settings.finnhub_symbols_per_connection
        self._places = spread(symbols, len(self._lines), most, self._places)
        for place, line in enumerate(self._lines):
            line.symbols = tuple(s for s in symbols if self._places.get(s) == place)
        if left := [symbol for symbol in symbols if symbol not in self._places]:
            log.warning(
                "%d symbols are more than %d connections of %d take (FINNHUB_API_KEY, "
                "FINNHUB_SYMBOLS_PER_CONNECTION); these have quotes only: %s",
                len(symbols),
                len(self._lines),
                most,
                _listed(left),
            )

    def _note_stale(self) -> None:
        now_ms = self._clock.now_ms()
        for symbol, silent_ms in self._intake.pulses.newly_stale(self._intake.symbols, now_ms):
            log.warning(
                "%s: no trade for %d s, far longer than usual, though its market is open",
                symbol,
                silent_ms // 1000,
            )

    def _mark_delivered(self) -> None:
        """Store how far the feed is covered, as far as Kafka knows of it."""
        if self._storing is not None and not self._storing.done():
            return
        pending = self._pending_mark
        if pending is not None and pending.corrections != self._outlet.corrections:
            pending = None  # it counts as covered what was found to be lost
        if pending is not None and self._outlet.settled >= pending.number:
            self._storing = asyncio.create_task(self._store(pending.mark))
            pending = None
        if pending is None and not self._intake.holds_trades:
            number, corrections = self._outlet.last(), self._outlet.corrections
            pending = _PendingMark(number, corrections, self._intake.mark())
        self._pending_mark = pending

    async def _store(self, mark: Mark) -> None:
        """Keep a mark; a full disk is no reason to stop taking trades in, nor is a slow one."""
        try:
            await asyncio.to_thread(store_mark, self._mark_path, mark)
        except OSError as error:
            if not self._mark_failed:
                log.error("%s cannot be written: %s. Make room there.", self._mark_path, error)
            self._mark_failed = True
        else:
            self._mark_failed = False

    def _line(self, number: int) -> Line:
        return Line(
            self._settings.finnhub_keys,
            number,
            url=self._settings.finnhub_websocket_url,
            feed=self._settings.tickhouse_feed,
            intake=self._intake,
            clock=self._clock,
            rng=self._rng,
            offer=self._outlet.offer,
            room=self._outlet.room,
            on_date=self._date_received,
            recorder=self._recorder,
        )

    def _date_received(self, date_ms: int, sent_ms: int, received_ms: int) -> None:
        """A server of the vendor's gave its time."""
        if self._recorder:
            self._recorder.date(date_ms, sent_ms, received_ms)
        self._outlet.offer(self._intake.server_date(date_ms, sent_ms, received_ms))

    def _publish(self, message: Quote | RejectionRecord) -> None:
        self._outlet.offer([message])

    async def _bring_quotes(self) -> None:
        """Learn when markets are open, which takes a second or two; then poll quotes."""
        if self._settings.tickhouse_feed == "live":
            await asyncio.to_thread(_learn_days, self._clock.now_ms())
        self._knows_sessions = True
        await self._poller().run()

    def _is_open(self, symbol: str, at_ms: int) -> bool:
        return self._knows_sessions and self._market_open(symbol, at_ms)

    def _poller(self) -> QuotePoller:
        url = self._settings.finnhub_rest_url
        keys = self._settings.finnhub_keys
        apis = [(FinnhubRest(url, key, keys), CallBudget()) for key in keys]
        return QuotePoller(
            RestCalls(apis, self._clock, self._rng, on_date=self._date_received),
            lambda: self._intake.symbols,
            feed=self._settings.tickhouse_feed,
            source=self._intake.source,
            clock=self._clock,
            publish=self._publish,
            last_trade_ms=self._intake.pulses.last_ms,
            recorder=self._recorder,
        )


def _learn_days(now_ms: int) -> None:
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    try:
        learn_days(today - timedelta(days=4), today + timedelta(days=_DAYS_AHEAD))
    except (OSError, SubprocessError) as error:
        log.warning("the calendar is loaded into this process, as another failed: %s", error)
        trading_day(today.isoformat())


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _listed(symbols: list[str]) -> str:
    return ", ".join(symbols) or "none"


def _stored_mark(path: Path) -> Mark | None:
    try:
        return load_mark(path)
    except (msgspec.DecodeError, OSError) as error:
        raise TickhouseError(
            f"The coverage mark {path} cannot be read ({error}). Delete it; the minutes that the "
            "producer was away are then not told as dark."
        ) from None
