"""A producer's life through a seeded script of all faults, and what must have come of it.

Producer and simulator are the real ones, over real sockets, in one process on virtual time. Kafka
is the one thing that is not there: what the producer sends is kept in a list.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

import app.feeds.live.producer as producing
from app.contracts import Candle, Message, Quote, RejectionRecord, Trade, Trades, Watermark
from app.feeds.finnhub import rest
from app.feeds.finnhub.websocket import BadKeyError
from app.feeds.live.producer import Producer
from app.feeds.simulator.delivery_log.ledger import Truth
from app.feeds.simulator.delivery_log.log import (
    Delivery,
    Ended,
    Opened,
    Resumed,
    Sent,
    Silent,
    Subscribed,
)
from app.feeds.simulator.faults.kinds import AnyFault
from app.feeds.simulator.faults.rest import RestFaults
from app.feeds.simulator.faults.seeded import seeded_script
from app.feeds.simulator.market.listing import KNOWN_PRICES
from app.feeds.simulator.server.rest import Answer
from app.settings import Settings
from tests.integration.feeds.simulated import START_MS, TOKEN, simulated
from tests.virtual_time import LoopClock, VirtualTimeLoop
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import market_fields, newest

MINUTE = 60_000
LENGTH_S = 600.0
SILENCE_S = 30.0
SYMBOLS = (*KNOWN_PRICES, *(f"S{number:02d}" for number in range(50 - len(KNOWN_PRICES))))
RULES = Rules("simulated", "sip", 5_000, 900_000)
TOLERANCE_MS = 1_000
TOLD_S = 9.0
"""A minute is told by then, even by a clock that is behind by as much as is let pass."""
ARRIVED_S = 2.0
"""What was sent has arrived by then; no connection takes a silence so short for a stall."""


class Life(NamedTuple):
    """One run of the producer: from when until when, on the simulator's clock.

    :ivar ahead: since when (on the simulator's clock) its own was ahead of that by how many ms.
    """

    began_ms: int
    ended_ms: int
    ahead: list[tuple[int, int]]

    @property
    def from_ms(self) -> int:
        """What its own clock said when it began."""
        return max(at_ms + by for at_ms, by in self.ahead if at_ms == self.began_ms)

    @property
    def until_ms(self) -> int:
        """What its own clock said when it ended."""
        return self.ended_ms + self.ahead[-1][1]


class Lived(NamedTuple):
    """What was sent to Kafka, what the simulator delivered, by which clocks the producer went."""

    messages: list[Message | RejectionRecord]
    deliveries: list[Delivery]
    lives: list[Life]


class Kept:
    """Stands for the way to Kafka: keeps what a producer offers."""

    def __init__(self, messages: list[Message | RejectionRecord]) -> None:
        self._messages = messages
        self.room = asyncio.Event()
        self.room.set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        pass

    def offer(self, messages: Iterable[Message | RejectionRecord]) -> None:
        self._messages += messages

    def serve(self) -> None:
        pass

    corrections = 0

    def last(self) -> int:
        return len(self._messages)

    @property
    def settled(self) -> int:
        return self.last()

    async def finish(self, *counts: int) -> None:
        pass

    def check(self) -> None:
        pass


async def live_through(
    seed: int,
    folder: Path,
    rate: float,
    patch: pytest.MonkeyPatch,
    length_s: float = LENGTH_S,
    behind_ms: int = 0,
    start_ms: int = START_MS,
    faults: list[AnyFault] | None = None,
    silence_s: float = SILENCE_S,
) -> Lived:
    """The whole of a marathon; a producer that a bad key has stopped is started again.

    :param faults: what goes wrong; by default the script of the seed.
    :param silence_s: how long the producer bears an open market that brings nothing.
    :param start_ms: what the simulator's clock says at its beginning.
    :param behind_ms: by how much its machine's clock is behind.
    """
    messages: list[Message | RejectionRecord] = []
    patch.setattr(producing, "Outlet", lambda *_: Kept(messages))
    patch.setattr(producing, "await_topics", lambda *_: True)
    patch.setattr(rest, "_in_thread", _call)
    patch.setattr(rest, "TIMEOUT_S", 600)  # of real time: on a busy machine 4 s are not many
    patch.setattr(RestFaults, "answer", _answer)
    lives: list[Life] = []
    script = seeded_script(seed, length_s, silence_s) if faults is None else faults
    async with simulated(faults=script, rate=rate, seed=seed, start_ms=start_ms) as simulator:
        settings = Settings(
            _env_file=None,
            tickhouse_feed="simulated",
            tickhouse_data_dir=folder,
            stocks_symbols=SYMBOLS,
            finnhub_api_key=TOKEN,
            finnhub_silence_s=silence_s,
            finnhub_websocket_url=f"ws://{simulator.at}",
            finnhub_rest_url=f"http://{simulator.at}/api/v1",
        )
        stop = asyncio.Event()
        living = _keep_living(settings, start_ms, behind_ms, Random(seed), stop, lives)
        running = asyncio.create_task(living)
        await asyncio.sleep(length_s + TOLD_S)
        simulator.close_market()
        await asyncio.sleep(ARRIVED_S)
        stop.set()
        await running
        return Lived(messages, simulator.deliveries, lives)


def _loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


_in_thread, _answers = rest._in_thread, RestFaults.answer


async def _call(call: Callable[[], Any]) -> Any:
    """A call over REST: it takes the time that the simulator takes over it.

    It begins when all else of its moment is done: whose turn comes first is no matter of chance.
    """
    await asyncio.sleep(0.001)
    return await _loop().held(_in_thread(call))


async def _answer(self: RestFaults, target: str, header_token: str | None) -> Answer | None:
    with _loop().awaited():
        return await _answers(self, target, header_token)


async def _keep_living(
    settings: Settings,
    start_ms: int,
    behind_ms: int,
    rng: Random,
    stop: asyncio.Event,
    lives: list[Life],
) -> None:
    """Each life begins with the machine's clock, as the process would that is started again."""
    simulators = LoopClock(start_ms)
    while not stop.is_set():
        began_ms, clock = simulators.now_ms(), LoopClock(start_ms - behind_ms)
        try:
            await Producer(settings, clock, rng).run(stop)
        except BadKeyError:
            lives.append(_life(began_ms, simulators.now_ms(), -behind_ms, clock.moves))
            await asyncio.sleep(5)
    lives.append(_life(began_ms, simulators.now_ms(), -behind_ms, clock.moves))


def _life(began_ms: int, ended_ms: int, ahead_ms: int, moves: list[tuple[int, int]]) -> Life:
    ahead = [(began_ms, ahead_ms)]
    for at_ms, by in moves:
        ahead.append((at_ms - ahead_ms, ahead_ms + by))
        ahead_ms += by
    return Life(began_ms, ended_ms, ahead)


# --- what must have come of it


def last_words(end_ms: int) -> list[Message]:
    """Watermarks far behind the end, from a source that outlives all others: all becomes final."""
    ends = (end_ms + 60 * MINUTE, end_ms + 70 * MINUTE)
    return [Watermark(symbol, "simulated", "end", t, t) for t in ends for symbol in SYMBOLS]


def candles(records: Iterable[Candle]) -> dict[str, tuple[object, ...]]:
    """The market fields of the last revision of each candle."""
    return {name: market_fields(one) for name, one in newest(records).items()}


def made(messages: Iterable[Message]) -> dict[str, tuple[object, ...]]:
    """The candles that the core makes of messages."""
    told = list(messages)
    end_ms = max(one.received_at for one in told)
    return candles(Backfill(RULES).records([*told, *last_words(end_ms)]))


def wanted(found: Truth, quotes: Iterable[Quote]) -> dict[str, tuple[object, ...]]:
    """The candles of what was delivered, by the identity rules, each trade a message.

    Quotes come first: the first of a day may tell of the day before, and would be late behind
    the trades.
    """
    trades: list[Message] = [
        Trades(
            one.symbol,
            "simulated",
            "ledger",
            "c",
            one.at_ms + MINUTE,
            [Trade(one.t, one.p, one.v, one.c, k=one.k)],
        )
        for one in found.trades
    ]
    return made([*quotes, *trades])


def refused_frames(deliveries: Iterable[Delivery]) -> set[str]:
    """The digests of frames that hold what cannot be taken; of huge ones the log holds a part."""
    return {
        hashlib.sha256(one.raw.encode()).hexdigest()
        for one in deliveries
        if isinstance(one, Sent) and (one.broken or one.bad) and one.fault != "huge"
    }


def rejected_as_future(records: Collection[RejectionRecord]) -> set[tuple[str, int, Decimal]]:
    """Symbol, time and size of each trade that was rejected for a time too far ahead.

    Of a frame's rejections only the first carries the frame.
    """
    frames = {one.sha256: one.payload for one in records if one.payload is not None}
    found = set()
    for one in records:
        if one.reason == "future":
            rows = json.loads(base64.b64decode(frames[one.sha256]), parse_float=Decimal)["data"]
            found |= {
                (rows[i]["s"], rows[i]["t"], Decimal(rows[i]["v"])) for i in one.indices or ()
            }
    return found


class Heard(NamedTuple):
    """From when until when a symbol was heard, on the simulator's clock."""

    start_ms: int
    end_ms: int


def heard(deliveries: list[Delivery], end_ms: int) -> dict[str, list[Heard]]:
    """When each symbol was subscribed on a connection that brought trades.

    What is silent was heard until its last trade before, and is again when the silence is over.
    """
    since: dict[tuple[int, str], int] = {}
    last: dict[int, int] = {}
    silent: set[int] = set()
    found: dict[str, list[Heard]] = {symbol: [] for symbol in SYMBOLS}

    def end(connection: int, at_ms: int) -> list[tuple[int, str]]:
        at_ms = last.get(connection, at_ms) if connection in silent else at_ms
        ended = [key for key in since if key[0] == connection]
        for key in ended:
            found[key[1]].append(Heard(since.pop(key), at_ms))
        return ended

    for one in deliveries:
        match one:
            case Subscribed():
                since[one.connection, one.symbol] = one.at_ms
            case Sent() if one.raw.startswith('{"data"') and not one.broken:
                last[one.connection] = one.at_ms
            case Silent():
                silent.add(one.connection)
                if one.fault == "half-open":
                    end(one.connection, one.at_ms)
            case Resumed():
                since |= dict.fromkeys(end(one.connection, one.at_ms), one.at_ms)
                silent.discard(one.connection)
            case Ended():
                end(one.connection, one.at_ms)
            case Opened():
                silent.discard(one.connection)
    for connection in {connection for connection, _ in since}:
        end(connection, end_ms)
    return found


def on_producers_clock(intervals: list[Heard], lives: list[Life]) -> list[Heard]:
    """The same as that clock said it: nothing was heard in what it was moved over.

    A run whose clock is before that of the run that ended tells its minutes anew.
    """
    ahead = [one for life in lives for one in life.ahead]
    anew = [(life.began_ms, life.from_ms // MINUTE * MINUTE) for life in set_back(lives)]
    shown = []
    for one in intervals:
        until_ms = min((minute for at_ms, minute in anew if one.start_ms < at_ms), default=None)
        within = [at_ms for at_ms, _ in ahead if one.start_ms < at_ms < one.end_ms]
        for start_ms, end_ms in pairwise([one.start_ms, *within, one.end_ms]):
            ahead_ms = next((by for at_ms, by in reversed(ahead) if at_ms <= start_ms), 0)
            span = Heard(start_ms + ahead_ms, end_ms + ahead_ms)
            if until_ms is None or span.start_ms < until_ms:
                shown.append(Heard(span.start_ms, min(span.end_ms, until_ms or span.end_ms)))
    return shown


def set_back(lives: list[Life]) -> list[Life]:
    """Those whose clock began before that of the life before ended."""
    return [after for before, after in pairwise(lives) if after.from_ms < before.until_ms]


def told_coverage(messages: Iterable[Message | RejectionRecord]) -> dict[tuple[str, int], int]:
    """The newest value told of each symbol's minute."""
    told: dict[tuple[str, int], int] = {}
    for one in messages:
        if isinstance(one, Watermark) and one.minute_start is not None:
            assert one.gap_since is None, "no marathon is dark for longer than the horizon"
            told[one.symbol, one.minute_start] = one.covered_ms or 0
    return told


def coverage_errors(lived: Lived, start_ms: int, end_ms: int) -> list[str]:
    """Each minute whose coverage differs from what was heard by more than a second an edge.

    :param start_ms: when the producer had come up.
    :param end_ms: behind the last minute that was told for good.
    """
    told = told_coverage(lived.messages)
    errors = []
    for symbol, intervals in heard(lived.deliveries, end_ms).items():
        spans = on_producers_clock(intervals, lived.lives)
        for minute in range(-(-start_ms // MINUTE) * MINUTE, end_ms - MINUTE + 1, MINUTE):
            parts = [_overlap(span, minute) for span in spans]
            allowed = sum(_leeway(edge, minute) for span in spans for edge in span)
            got = told.get((symbol, minute))
            if got is None or abs(got - sum(parts)) > allowed:
                number = (minute - start_ms) // MINUTE
                errors.append(f"{symbol} minute {number}: {got} told, {sum(parts)} heard")
    return errors


def _leeway(edge_ms: int, minute: int) -> int:
    """By how much a minute's coverage changes, at most, when an edge is told a tolerance away."""
    outside_ms = max(minute - edge_ms, edge_ms - (minute + MINUTE), 0)
    return max(0, TOLERANCE_MS - outside_ms)


def _overlap(span: Heard, minute: int) -> int:
    return max(0, min(span.end_ms, minute + MINUTE) - max(span.start_ms, minute))
