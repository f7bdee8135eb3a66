"""Run a producer through a seeded script of all faults, and compute what its output must be.

Producer and simulator are the real ones, over real sockets, in one process on virtual time. Only
Kafka is replaced: messages are kept in a list.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Collection, Iterable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import app.feeds.live.producer as producing
from app.contracts import Candle, Message, Quote, RejectionRecord, Trade, Trades, Watermark
from app.feeds.finnhub import rest
from app.feeds.finnhub.vendor import Finnhub
from app.feeds.live.producer import Producer
from app.feeds.simulator.delivery_log.ledger import ExpectedTrades
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
from app.feeds.simulator.rest import RestResponse
from app.feeds.vendor import BadKeyError
from app.settings import Settings
from tests.integration.feeds.simulated import START_MS, TOKEN, simulated
from tests.virtual_rest import in_thread, virtual_loop
from tests.virtual_time import LoopClock
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import market_fields, newest

MINUTE = 60_000
LENGTH_S = 600.0
SILENCE_S = 30.0
SYMBOLS = (*KNOWN_PRICES, *(f"S{number:02d}" for number in range(50 - len(KNOWN_PRICES))))
RULES = Rules("simulated", "sip", 5_000, 900_000)
TOLERANCE_MS = 1_000
EMITTED_S = 9.0
"""A minute is emitted by then, even if the clock is behind by as much as is tolerated."""
ARRIVED_S = 2.0
"""All messages sent have arrived by then; no connection takes so short a silence for a stall."""


class ProducerRun(NamedTuple):
    """One run of the producer: its start and end on the simulator's clock.

    :ivar ahead: from when (on the simulator's clock) its own clock was ahead by how many ms.
    """

    began_ms: int
    ended_ms: int
    ahead: list[tuple[int, int]]

    @property
    def from_ms(self) -> int:
        """Its own clock when it began."""
        return max(at_ms + by for at_ms, by in self.ahead if at_ms == self.began_ms)

    @property
    def until_ms(self) -> int:
        """Its own clock when it ended."""
        return self.ended_ms + self.ahead[-1][1]


class SoakResult(NamedTuple):
    """The messages for Kafka, the simulator's deliveries, and the runs of the producer."""

    messages: list[Message | RejectionRecord]
    deliveries: list[Delivery]
    runs: list[ProducerRun]


class ListOutbox:
    """Replaces the outbox: keeps what a producer offers."""

    def __init__(self, messages: list[Message | RejectionRecord]) -> None:
        self._messages = messages
        self.writable = asyncio.Event()
        self.writable.set()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def topics_ready(self) -> None:
        pass

    def offer(self, messages: Iterable[Message | RejectionRecord]) -> None:
        self._messages += messages

    def serve(self) -> None:
        pass

    corrections = 0

    def last(self) -> int:
        return len(self._messages)

    @property
    def delivered_up_to(self) -> int:
        return self.last()

    async def finish(self, *counts: int) -> None:
        pass

    def check(self) -> None:
        pass


async def run_soak(
    seed: int,
    folder: Path,
    rate: float,
    patch: pytest.MonkeyPatch,
    length_s: float = LENGTH_S,
    behind_ms: int = 0,
    start_ms: int = START_MS,
    faults: list[AnyFault] | None = None,
    silence_s: float = SILENCE_S,
) -> SoakResult:
    """Run a complete soak test; a producer that a bad key has stopped is started again.

    :param faults: what goes wrong; by default the script of the seed.
    :param silence_s: how long the producer bears an open market that brings nothing.
    :param start_ms: the time of the simulator's clock at its beginning.
    :param behind_ms: by how much its machine's clock is behind.
    """
    messages: list[Message | RejectionRecord] = []
    patch.setattr(producing, "Outbox", lambda *_: ListOutbox(messages))
    patch.setattr(producing, "await_topics", lambda *_: True)
    patch.setattr(rest, "_in_thread", in_thread)
    patch.setattr(rest, "TIMEOUT_S", 600)  # of real time: on a busy machine 4 s are not many
    patch.setattr(RestFaults, "answer", _answer)
    runs: list[ProducerRun] = []
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
        running_producers = _run_producers(settings, start_ms, behind_ms, Random(seed), stop, runs)
        running = asyncio.create_task(running_producers)
        await asyncio.sleep(length_s + EMITTED_S)
        simulator.close_market()
        await asyncio.sleep(ARRIVED_S)
        stop.set()
        await running
        return SoakResult(messages, simulator.deliveries, runs)


_answers = RestFaults.answer


async def _answer(self: RestFaults, target: str, header_token: str | None) -> RestResponse | None:
    with virtual_loop().awaited():
        return await _answers(self, target, header_token)


async def _run_producers(
    settings: Settings,
    start_ms: int,
    behind_ms: int,
    rng: Random,
    stop: asyncio.Event,
    runs: list[ProducerRun],
) -> None:
    """Run the producer until it is stopped; each run starts with the system time, as a restarted
    process would.
    """
    simulators = LoopClock(start_ms)
    while not stop.is_set():
        began_ms, clock = simulators.now_ms(), LoopClock(start_ms - behind_ms)
        try:
            await Producer(settings, Finnhub(settings), clock, rng).run(stop)
        except BadKeyError:
            runs.append(_producer_run(began_ms, simulators.now_ms(), -behind_ms, clock.moves))
            await asyncio.sleep(5)
    runs.append(_producer_run(began_ms, simulators.now_ms(), -behind_ms, clock.moves))


def _producer_run(
    began_ms: int, ended_ms: int, ahead_ms: int, moves: list[tuple[int, int]]
) -> ProducerRun:
    ahead = [(began_ms, ahead_ms)]
    for at_ms, by in moves:
        ahead.append((at_ms - ahead_ms, ahead_ms + by))
        ahead_ms += by
    return ProducerRun(began_ms, ended_ms, ahead)


# --- what must have come of it


def final_watermarks(end_ms: int) -> list[Message]:
    """Watermarks long after the end, from a source that outlasts all others, so that all candles
    become final.
    """
    ends = (end_ms + 60 * MINUTE, end_ms + 70 * MINUTE)
    return [Watermark(symbol, "simulated", "end", t, t) for t in ends for symbol in SYMBOLS]


def candles(records: Iterable[Candle]) -> dict[str, tuple[object, ...]]:
    """Return the market fields of the last revision of each candle."""
    return {name: market_fields(item) for name, item in newest(records).items()}


def candles_of(messages: Iterable[Message]) -> dict[str, tuple[object, ...]]:
    """Return the candles that the core computes from messages."""
    emitted = list(messages)
    end_ms = max(item.received_at for item in emitted)
    return candles(Backfill(RULES).records([*emitted, *final_watermarks(end_ms)]))


def expected_candles(
    found: ExpectedTrades, quotes: Iterable[Quote]
) -> dict[str, tuple[object, ...]]:
    """The candles of what was delivered, by the identity rules, each trade as a message of its own.

    Quotes come first: the first of a day may be of the day before, and would be late behind
    the trades.
    """
    trades: list[Message] = [
        Trades(
            trade.symbol,
            "simulated",
            "ledger",
            "c",
            trade.at_ms + MINUTE,
            [Trade(trade.t, trade.p, trade.v, trade.c, k=trade.k)],
        )
        for trade in found.trades
    ]
    return candles_of([*quotes, *trades])


def rejected_frames(deliveries: Iterable[Delivery]) -> set[str]:
    """Return the digests of frames with rejected content; the log truncates huge ones."""
    return {
        hashlib.sha256(delivery.raw.encode()).hexdigest()
        for delivery in deliveries
        if isinstance(delivery, Sent)
        and (delivery.broken or delivery.bad)
        and delivery.fault != "huge"
    }


def rejected_as_future(records: Collection[RejectionRecord]) -> set[tuple[str, int, Decimal]]:
    """Symbol, time and size of each trade that was rejected for a time too far ahead.

    Of a frame's rejections only the first carries the frame.
    """
    frames = {record.sha256: record.payload for record in records if record.payload is not None}
    found = set()
    for record in records:
        if record.reason == "future":
            rows = json.loads(base64.b64decode(frames[record.sha256]), parse_float=Decimal)["data"]
            found |= {
                (rows[i]["s"], rows[i]["t"], Decimal(rows[i]["v"])) for i in record.indices or ()
            }
    return found


class ReceivedSpan(NamedTuple):
    """A span in which a symbol was received, on the simulator's clock."""

    start_ms: int
    end_ms: int


def received_spans(deliveries: list[Delivery], end_ms: int) -> dict[str, list[ReceivedSpan]]:
    """Return when each symbol was subscribed on a connection that brought trades.

    A silent connection counts until its last trade before the silence, and again from the end of
    the silence.
    """
    since: dict[tuple[int, str], int] = {}
    last: dict[int, int] = {}
    silent: set[int] = set()
    found: dict[str, list[ReceivedSpan]] = {symbol: [] for symbol in SYMBOLS}

    def end(connection: int, at_ms: int) -> list[tuple[int, str]]:
        at_ms = last.get(connection, at_ms) if connection in silent else at_ms
        ended = [key for key in since if key[0] == connection]
        for key in ended:
            found[key[1]].append(ReceivedSpan(since.pop(key), at_ms))
        return ended

    for delivery in deliveries:
        match delivery:
            case Subscribed():
                since[delivery.connection, delivery.symbol] = delivery.at_ms
            case Sent() if delivery.raw.startswith('{"data"') and not delivery.broken:
                last[delivery.connection] = delivery.at_ms
            case Silent():
                silent.add(delivery.connection)
                if delivery.fault == "half-open":
                    end(delivery.connection, delivery.at_ms)
            case Resumed():
                since |= dict.fromkeys(end(delivery.connection, delivery.at_ms), delivery.at_ms)
                silent.discard(delivery.connection)
            case Ended():
                end(delivery.connection, delivery.at_ms)
            case Opened():
                silent.discard(delivery.connection)
    for connection in {connection for connection, _ in since}:
        end(connection, end_ms)
    return found


def on_producers_clock(
    intervals: list[ReceivedSpan], runs: list[ProducerRun]
) -> list[ReceivedSpan]:
    """Convert spans to the producer's clock, without the time that the clock was moved over.

    A run whose clock starts before the end of the previous run reports its minutes again.
    """
    ahead = [item for run in runs for item in run.ahead]
    anew = [
        (run.began_ms, run.from_ms // MINUTE * MINUTE) for run in runs_with_clock_set_back(runs)
    ]
    shown = []
    for interval in intervals:
        until_ms = min(
            (minute for at_ms, minute in anew if interval.start_ms < at_ms), default=None
        )
        within = [at_ms for at_ms, _ in ahead if interval.start_ms < at_ms < interval.end_ms]
        for start_ms, end_ms in pairwise([interval.start_ms, *within, interval.end_ms]):
            ahead_ms = next((by for at_ms, by in reversed(ahead) if at_ms <= start_ms), 0)
            span = ReceivedSpan(start_ms + ahead_ms, end_ms + ahead_ms)
            if until_ms is None or span.start_ms < until_ms:
                shown.append(ReceivedSpan(span.start_ms, min(span.end_ms, until_ms or span.end_ms)))
    return shown


def runs_with_clock_set_back(runs: list[ProducerRun]) -> list[ProducerRun]:
    """Return the runs whose clock started before that of the previous run ended."""
    return [after for before, after in pairwise(runs) if after.from_ms < before.until_ms]


def emitted_coverage(messages: Iterable[Message | RejectionRecord]) -> dict[tuple[str, int], int]:
    """Return the last emitted coverage of each symbol's minutes."""
    emitted: dict[tuple[str, int], int] = {}
    for message in messages:
        if isinstance(message, Watermark) and message.minute_start is not None:
            assert message.gap_since is None, "no gap is longer than the allowed lateness"
            emitted[message.symbol, message.minute_start] = message.covered_ms or 0
    return emitted


def coverage_errors(result: SoakResult, start_ms: int, end_ms: int) -> list[str]:
    """Return each minute whose coverage differs from what was received by more than a second per
    edge.

    :param start_ms: when the producer was ready.
    :param end_ms: after the last minute whose coverage is final.
    """
    emitted = emitted_coverage(result.messages)
    errors = []
    for symbol, intervals in received_spans(result.deliveries, end_ms).items():
        spans = on_producers_clock(intervals, result.runs)
        for minute in range(-(-start_ms // MINUTE) * MINUTE, end_ms - MINUTE + 1, MINUTE):
            parts = [_intersection(span, minute) for span in spans]
            allowed = sum(_leeway(edge, minute) for span in spans for edge in span)
            got = emitted.get((symbol, minute))
            if got is None or abs(got - sum(parts)) > allowed:
                number = (minute - start_ms) // MINUTE
                errors.append(f"{symbol} minute {number}: {got} emitted, {sum(parts)} received")
    return errors


def _leeway(edge_ms: int, minute: int) -> int:
    """Return how much a minute's coverage changes when an edge moves by the tolerance."""
    outside_ms = max(minute - edge_ms, edge_ms - (minute + MINUTE), 0)
    return max(0, TOLERANCE_MS - outside_ms)


def _intersection(span: ReceivedSpan, minute: int) -> int:
    return max(0, min(span.end_ms, minute + MINUTE) - max(span.start_ms, minute))
