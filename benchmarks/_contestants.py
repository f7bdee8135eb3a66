"""The contestants on the same input: the worker, its upper limits, and plain Quix Streams.

Each runs in its own process and is measured from its first message to its last commit.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from decimal import setcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from quixstreams import Application, State
from quixstreams.dataframe.windows import Count, Earliest, Latest, Max, Min, Sum

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    STOCKS_TOPIC,
    Candle,
)
from app.exact import EXACT
from app.market.sessions import load_calendar
from app.message_parser import decode
from app.settings import Settings
from benchmarks._bench import Cost, Input, WorkerError, batches, candles, measured, worker_log
from benchmarks._reference import Key, ReferenceBar, full
from tests.support import read_topic, running, values
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.window import newest
from topologies.runtime.worker import tune_gc

COMPILED = Path(__file__).resolve().parent.parent / ".compiled"
"""The output of `make compile`."""
STOCK_CANDLES_TOPIC = "candles-stock"
STOCK_TTL = timedelta(seconds=60)
STOCK_GRACE = timedelta(seconds=10)

T = TypeVar("T")


class Result(NamedTuple):
    """A run: its cost, its candles, and the number of records that it wrote by kind."""

    cost: Cost
    candles: dict[Key, Any]
    """`Full` or `ReferenceBar` by symbol and minute; empty for a contestant without candles."""
    revisions: int = 0
    partials: int = 0


def topology(input_: Input, live: bool, compiled: bool = False) -> Result:
    """Run `tickhouse candles` with its default settings.

    :param live: with or without partial candles.
    :param compiled: with the core of `make compile`, or the plain one.
    """
    input_.reset()
    settings = input_.settings.model_copy(update={"candle_live": live})
    log, more = worker_log(settings), {"PYTHONPATH": str(COMPILED) if compiled else ""}
    with running(settings, "candles", log=log, more=more) as worker:
        cost = measured(input_, [worker])
    core = re.findall(r"candle core: (\w+)", log.read_text())[-1]
    if core != ("compiled" if compiled else "plain"):
        raise WorkerError(f"The worker ran the {core} core, not the one that was to be measured.")
    records = candles(settings, CANDLES_TOPIC)
    partials = sum(map(len, batches(settings, LIVE_TOPIC))) if live else 0
    return _result(cost, records, partials)


def parse(input_: Input) -> Result:
    """Run a bare consumer loop with the same parser: the limit of any consumer."""
    return Result(_alone(_parse, input_.settings), {})


def core(input_: Input) -> Result:
    """Run the bare loop with the same core, all in memory: the limit of the worker."""
    cost, records = _alone(_core, input_.settings)
    return _result(cost, records, 0)


def stock(input_: Input) -> Result:
    """Run Quix Streams as in its documentation: plain OHLCV, odd lots like any other trade."""
    input_.reset()
    cost = _alone(_stock, input_.settings, input_.messages)
    found = values(read_topic(input_.settings, STOCK_CANDLES_TOPIC))
    return Result(cost, {(bar["symbol"], bar["start"]): _bar(bar) for bar in found})


def _result(cost: Cost, records: list[Candle], partials: int) -> Result:
    revisions = sum(candle.status == "revised" for candle in records)
    last = newest(candle for candle in records if candle.interval == "1m").values()
    return Result(cost, {(c.symbol, c.window_start): full(c) for c in last}, revisions, partials)


def _alone(run: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a new process; return its result."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(run, *arguments).result()


class Meter:
    """Wall and CPU time of this process since the meter was created."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def cost(self) -> Cost:
        return Cost(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def _parse(settings: Settings) -> Cost:
    tune_gc()
    meter = None
    for batch in batches(settings, STOCKS_TOPIC):
        meter = meter or Meter()
        for record in batch:
            decode(record.key(), record.value(), "replay")
    assert meter
    return meter.cost()


def _core(settings: Settings) -> tuple[Cost, list[Candle]]:
    tune_gc()
    setcontext(EXACT)
    load_calendar()
    symbols: dict[str, SymbolCandles] = {}
    records: list[Candle] = []
    rules, counters = Rules("replay", live=False), Counter[str]()
    meter = None
    for batch in batches(settings, STOCKS_TOPIC):
        meter = meter or Meter()
        for record in batch:
            message, _, indices = decode(record.key(), record.value(), "replay")
            symbol_candles = symbols.get(message.symbol)
            if symbol_candles is None:
                symbol_candles = symbols[message.symbol] = SymbolCandles(
                    message.symbol, rules, counters
                )
            records += symbol_candles.apply(message, record.offset(), indices).records
    assert meter
    return meter.cost(), records


def _stock(settings: Settings, messages: int) -> Cost:
    """Run until `messages` are processed and committed, with the worker's guarantee and commits."""
    app = Application(
        broker_address=settings.kafka_brokers,
        consumer_group=settings.named("stock"),
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=settings.candle_commit_interval_s,
        state_dir=settings.state_dir / "stock",
        loglevel="WARNING",
        on_message_processed=lambda *_: handled(),
    )
    meter: Meter | None = None
    count = 0

    def handled() -> None:
        nonlocal meter, count
        meter = meter or Meter()
        count += 1
        if count == messages:
            app.stop()

    _stock_steps(app, settings)
    app.run()
    assert meter
    return meter.cost()


def _stock_steps(app: Application, settings: Settings) -> None:
    """Deduplicate with state that expires, then aggregate in a tumbling window."""
    stocks = settings.named(STOCKS_TOPIC)
    source = app.topic(stocks, key_deserializer="str", value_deserializer="json")
    bars_topic = settings.named(STOCK_CANDLES_TOPIC)
    target = app.topic(bars_topic, key_serializer="str", value_serializer="json")
    trades = app.dataframe(source)
    trades = trades[trades["type"] == "trades"]
    trades = trades.apply(lambda message: message["trades"], expand=True)
    trades = trades.set_timestamp(lambda trade, *_: trade["t"])
    trades = trades.filter(_is_new, stateful=True)
    trades = trades.apply(lambda trade: {**trade, "notional": trade["p"] * trade["v"]})
    bars = (
        trades.tumbling_window(timedelta(minutes=1), grace_ms=STOCK_GRACE)
        .agg(
            open=Earliest("p"),
            high=Max("p"),
            low=Min("p"),
            close=Latest("p"),
            volume=Sum("v"),
            notional=Sum("notional"),
            trade_count=Count(),
        )
        .final()
    )
    bars = bars.apply(lambda bar, key, *_: {**bar, "symbol": key}, metadata=True)
    bars.to_topic(target)


def _is_new(trade: dict[str, Any], state: State[str, bool]) -> bool:
    identity = f"{trade['t']}|{trade['p']}|{trade['v']}|{trade['c']}|{trade['k']}"
    if state.exists(identity):
        return False
    state.set(identity, True, ttl=STOCK_TTL)
    return True


def _bar(bar: dict[str, Any]) -> ReferenceBar:
    open_, high, low, close = (round(bar[name] * 100) for name in ("open", "high", "low", "close"))
    notional = round(bar["notional"] * 100)
    return ReferenceBar(open_, high, low, close, int(bar["volume"]), notional, bar["trade_count"])
