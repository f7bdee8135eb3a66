"""Measure a worker's state, in memory and on disk, as event time passes, and its start-up time.

    many   5,000 symbols that trade each minute
    one    one symbol with 6,000 trades a minute, for six hours of event time

Both must be constant once the allowed lateness (15 minutes) has passed. Then the time from the
start of the process to its first commit is measured: for a worker with almost no state, with the
state of `many` on disk, and with the state folder wiped, so that it is restored from the changelog.

    python -m benchmarks.state [--symbols 5000] [--minutes 60] [--busy-minutes 360] [--starts 3]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from app.contracts import STOCKS_TOPIC, Message, Trade, Trades
from app.settings import Settings
from app.topics import CANDLES_GROUP, ensure_topics
from benchmarks._bench import bench
from benchmarks._report import report, spread
from tests.support import await_consumed, running, send_messages

BASE = 1_700_000_040_000
MINUTE = 60_000
SAMPLES = 6
DEFAULTS = {"symbols": 5_000, "minutes": 60, "busy_minutes": 360, "starts": 3}
BUSY_TRADES = 6_000
A_MESSAGE = 10
MB = 2**20

PROSE = """
Memory is the worker's RSS, and disk is its state folder (RocksDB), after each sixth of the event
time. Memory may include up to 64 MB of messages that were fetched from Kafka in advance.

A start is measured from the start of the process to the commit of a first message (median of
{starts}):

- **{none:.1f} s** with next to no state,
- **{disk:.1f} s** with {symbols:,} symbols on disk,
- **{wiped:.1f} s** with their state folder deleted, after Kafka had compacted the changelog.
"""


class WorkerUsage(NamedTuple):
    """Memory and disk that a worker used at a moment of event time."""

    minute: int
    memory_mb: float
    disk_mb: float


def many(symbols: int, minute: int) -> Iterator[Message]:
    """Yield a message with four trades for each symbol in one minute."""
    for number in range(symbols):
        at = BASE + minute * MINUTE + number * MINUTE // symbols
        trades = [
            Trade(at - i, Decimal(10_000 + (number + i) % 100) / 100, Decimal(1 + i), ["1"])
            for i in range(4)
        ]
        yield Trades(f"S{number:04d}", "replay", "b", "c", at, trades)


def busy(minute: int) -> Iterator[Message]:
    """Yield a minute of one busy symbol."""
    for number in range(BUSY_TRADES // A_MESSAGE):
        at = BASE + minute * MINUTE + number * MINUTE * A_MESSAGE // BUSY_TRADES
        trades = [
            Trade(at, Decimal(10_000 + i) / 100, Decimal(1 + number % 7), ["1"], number, i)
            for i in range(A_MESSAGE)
        ]
        yield Trades("BUSY", "replay", "b", "c", at, trades)


def over_time(
    settings: Settings, minutes: int, minute_of: Callable[[int], Iterator[Message]]
) -> list[WorkerUsage]:
    """Return what a worker holds after each sixth of `minutes` of event time."""
    ensure_topics(settings)
    found = []
    with running(settings, "candles", log=settings.tickhouse_data_dir / "log") as process:
        for minute in range(minutes):
            send_messages(settings, STOCKS_TOPIC, minute_of(minute))
            if (minute + 1) * SAMPLES % minutes < SAMPLES:
                await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP, 600)
                memory = psutil.Process(process.pid).memory_info().rss
                found.append(WorkerUsage(minute + 1, memory / MB, disk_bytes(settings) / MB))
                print(found[-1], file=sys.stderr)
    return found


def disk_bytes(settings: Settings) -> int:
    return sum(file.stat().st_size for file in settings.state_dir.rglob("*") if file.is_file())


def start_s(settings: Settings, first: Message) -> float:
    """Return the seconds from the start of a worker to its first commit."""
    send_messages(settings, STOCKS_TOPIC, [first])
    began = time.perf_counter()
    with running(settings, "candles", log=settings.tickhouse_data_dir / "log"):
        await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP, 600)
        return time.perf_counter() - began


def await_compaction(settings: Settings, minutes: int) -> None:
    """Give Kafka the minute and a half it needs to compact what a replay wrote quickly."""
    time.sleep(65)
    with running(settings, "candles", log=settings.tickhouse_data_dir / "log"):
        send_messages(settings, STOCKS_TOPIC, many(100, minutes))  # closes the changelogs' segments
        await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP, 600)
    time.sleep(30)


def starts(settings: Settings, tiny: Settings, count: int, minutes: int) -> dict[str, list[float]]:
    """Return seconds of starts, interleaved: almost no state, state on disk, state folder wiped."""
    found: dict[str, list[float]] = {"none": [], "disk": [], "wiped": []}
    ensure_topics(tiny)
    for number in range(count + 1):
        last = next(many(1, minutes))
        shutil.rmtree(tiny.state_dir / CANDLES_GROUP, ignore_errors=True)
        none, disk = start_s(tiny, last), start_s(settings, last)
        shutil.rmtree(settings.state_dir / CANDLES_GROUP)
        wiped = start_s(settings, last)
        if number:  # the first start creates the topics
            for kind, took in (("none", none), ("disk", disk), ("wiped", wiped)):
                found[kind].append(took)
        print(f"starts: {none:.1f} {disk:.1f} {wiped:.1f} s", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in DEFAULTS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, bench(Path(name)) as settings:

        def in_namespace(namespace: str) -> Settings:
            return settings.model_copy(update={"tickhouse_namespace": namespace})

        held = {
            f"{given.symbols:,} symbols": over_time(
                in_namespace("many"), given.minutes, lambda minute: many(given.symbols, minute)
            ),
            f"one symbol, {BUSY_TRADES:,} trades a minute": over_time(
                in_namespace("one"), given.busy_minutes, busy
            ),
        }
        await_compaction(in_namespace("many"), given.minutes)
        took = starts(in_namespace("many"), in_namespace("tiny"), given.starts, given.minutes)
    rows = [
        [label, f"{at.minute}", f"{at.memory_mb:.0f}", f"{at.disk_mb:.0f}"]
        for label, of in held.items()
        for at in of
    ]
    seconds = {kind: median(of) for kind, of in took.items()}
    report(
        "state",
        "What a worker holds",
        ["input", "minutes of event time", "memory, MB", "disk, MB"],
        rows,
        {
            "held": {label: [at._asdict() for at in of] for label, of in held.items()},
            "start_s": {kind: spread(of) for kind, of in took.items()},
        },
        PROSE.format(symbols=given.symbols, starts=given.starts, **seconds).strip(),
        keep=given.keep or all(getattr(given, name) == value for name, value in DEFAULTS.items()),
    )


if __name__ == "__main__":
    main()
