"""The candles worker beside its limits, on the same input in real Kafka, in one run.

    parse      a bare consumer loop with the same parser
    core       the same, and the same core in memory: no state store, no output, lost in a crash
    topology   `tickhouse candles`: exactly-once, commits each second, every output

The candles of core and topology are compared before a figure counts. CPU is that of the
contestant's process, broker apart; joining the group is in the topology's wall time.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from app.contracts import (
    CANDLES_TOPIC,
    STOCKS_TOPIC,
    Candle,
    Message,
    Trade,
    Trades,
    Watermark,
    decode,
    decode_candle,
)
from app.embedded.kafka import KafkaServer
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._report import report, spread
from tests.support import await_consumed, read_topic, send_messages, start, stop
from topologies.candle import Rules, SymbolCandles
from topologies.window import market_fields, newest

BASE = 1_700_000_040_000
SYMBOLS, MINUTES, TRADES, A_MESSAGE, RUNS = 50, 60, 300_000, 10, 3


def workload() -> Iterator[Message]:
    """Zipf-distributed symbols over an hour of t and received_at; 1 % of messages repeated."""
    rng = random.Random(42)
    names = [f"S{number:02d}" for number in range(SYMBOLS)]
    weights = [1 / (number + 1) for number in range(SYMBOLS)]
    count = TRADES // A_MESSAGE
    sent: list[Trades] = []
    for number in range(count):
        now = BASE + number * MINUTES * 60_000 // count
        if sent and rng.random() < 0.01:
            yield rng.choice(sent[-1000:])
        symbol = rng.choices(names, weights)[0]
        trades = [
            Trade(
                t=now - rng.randint(0, 400),
                p=Decimal(rng.randint(9_900, 10_100)) / 100,
                v=Decimal(rng.randint(1, 500)),
                c=["1"] if rng.random() < 0.55 else ["1", "12"],
                frame=number,
                i=place,
            )
            for place in range(A_MESSAGE)
        ]
        message = Trades(symbol, "replay", "b", "c", now, trades)
        sent.append(message)
        yield message
    end = BASE + (MINUTES + 1) * 60_000
    for symbol in names:
        yield Watermark(symbol, "replay", "b", end, end)


def parse(settings: Settings) -> list[Candle]:
    for record in read_topic(settings, STOCKS_TOPIC):
        decode(record.key(), record.value(), "replay")
    return []


def core(settings: Settings) -> list[Candle]:
    symbols: dict[str, SymbolCandles] = {}
    records: list[Candle] = []
    rules, tally = Rules("replay"), Counter[str]()
    for record in read_topic(settings, STOCKS_TOPIC):
        message, _, places = decode(record.key(), record.value(), "replay")
        candles = symbols.get(message.symbol)
        if candles is None:
            candles = symbols[message.symbol] = SymbolCandles(message.symbol, rules, tally)
        records += candles.apply(message, record.offset(), places).records
    return records


def in_this_process(contestant: Any, settings: Settings) -> tuple[float, float, list[Candle]]:
    wall, cpu = time.perf_counter(), time.process_time()
    records = contestant(settings)
    return time.perf_counter() - wall, time.process_time() - cpu, records


def topology(settings: Settings, messages: list[Message], folder: Path) -> Any:
    """(wall s, CPU s, records) of a worker that reads a fresh namespace to its end."""
    settings = settings.model_copy(
        update={"tickhouse_namespace": f"b{time.monotonic_ns()}", "tickhouse_data_dir": folder}
    )
    ensure_topics(settings)
    send_messages(settings, STOCKS_TOPIC, messages)
    worker = start(settings, "candles", log=folder / "candles.log")
    process = psutil.Process(worker.pid)
    while not (settings.state_dir / "candles" / "0" / "lives.json").exists():
        time.sleep(0.01)  # imports and topics are behind it
    wall, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
    await_consumed(settings, STOCKS_TOPIC, "candles", 300)
    figures = time.perf_counter() - wall, sum(process.cpu_times()[:2]) - cpu
    stop(worker)
    return *figures, [decode_candle(m.value()) for m in read_topic(settings, CANDLES_TOPIC)]


def main() -> None:
    messages = list(workload())
    trades = sum(len(m.trades) for m in messages if isinstance(m, Trades))
    runs: dict[str, list[tuple[float, float]]] = {"parse": [], "core": [], "topology": []}
    with tempfile.TemporaryDirectory() as name, KafkaServer(Path(name) / "kafka") as kafka:
        settings = Settings(
            _env_file=None,
            tickhouse_namespace="bench",
            tickhouse_feed="replay",
            tickhouse_data_dir=Path(name),
            kafka_brokers=kafka.brokers,
        )
        ensure_topics(settings)
        send_messages(settings, STOCKS_TOPIC, messages)
        for number in range(RUNS):
            print(f"run {number + 1} of {RUNS}", file=sys.stderr)
            expected: list[Candle] = []
            for label, contestant in (("parse", parse), ("core", core)):
                wall, cpu, found = in_this_process(contestant, settings)
                runs[label].append((wall, cpu))
                expected = found or expected
            wall, cpu, found = topology(settings, messages, Path(name))
            runs["topology"].append((wall, cpu))
            assert fields(found) == fields(expected), "the topology's candles are not the core's"
    figures = {
        label: {
            "trades_a_second": spread([trades / wall for wall, _ in of]),
            "trades_a_cpu_second": spread([trades / cpu for _, cpu in of]),
        }
        for label, of in runs.items()
    }
    base = figures["core"]["trades_a_cpu_second"]["median"]
    rows = [
        [
            label,
            f"{f['trades_a_second']['median']:,.0f}",
            "{min:,.0f} / {median:,.0f} / {max:,.0f}".format(**f["trades_a_cpu_second"]),
            f"{f['trades_a_cpu_second']['median'] / base:.2f}",
        ]
        for label, f in figures.items()
    ]
    title = f"{trades:,} trades, {A_MESSAGE} a message, {SYMBOLS} symbols, {RUNS} runs"
    columns = ["contestant", "trades/s, wall", "trades/CPU s, min/median/max", "of core"]
    report("candles", title, columns, rows, {"trades": trades, **figures})


def fields(records: list[Candle]) -> dict[str, Any]:
    return {key: market_fields(candle) for key, candle in newest(records).items()}


if __name__ == "__main__":
    main()
