"""Measure the cost of invalid messages, compared with a valid one of ten trades.

A single worker reads messages of each kind in turn, in several rounds; its CPU time is measured.
Then it reads invalid messages of all kinds only, and its memory is measured after `--messages` of
them and after ten times that number.

    python -m benchmarks.poison [--messages 5000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median

import psutil

from app.contracts import STOCKS_TOPIC, Trade, Trades, encode
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._bench import Group, bench, cpu_s
from benchmarks._report import report, spread
from tests.support import await_, end_offsets, running, send

BASE = 1_700_000_040_000
GOOD = "good, 10 trades"
HUGE = "huge, 300 KB"
HUGE_BYTES = 300_000
HUGE_SHARE = 50
"""Of many messages, one in this number is huge, so that the data in Kafka stays small."""

Pair = tuple[bytes | None, bytes]

PROSE = """
CPU is that of the worker's process with all threads. A rejection is recorded with the first 64 KiB
of its message and a SHA-256 of all of it, so the cost of a huge message is that of reading and
hashing it. The last column compares each kind with good messages of the same size in bytes.

The worker's memory (RSS) after poison only: {first:.0f} MB after {count:,} messages, {last:.0f} MB
after {more:,}. Lines added to its log in between: {lines}.
"""


def good(number: int) -> Pair:
    """Return a message with ten trades of one of 50 symbols."""
    symbol, t = f"S{number % 50:02d}", BASE + number * 5
    trades = [
        Trade(t - i, Decimal(10_000 + (number + i) % 200) / 100, Decimal(5), ["1"], number, i)
        for i in range(10)
    ]
    return symbol.encode(), encode(Trades(symbol, "replay", "b", "c", t, trades))


def kinds(number: int) -> dict[str, Pair]:
    """Return message `number` of each kind."""
    key, value = good(number)
    noise = random.Random(number).randbytes(800)
    return {
        GOOD: (key, value),
        "bytes": (key, noise),
        "cut JSON": (key, value[:-1]),
        "another key": (b"ELSE", value),
        "undecodable key": (b"\xff\xfe", value),
        "no key": (None, value),
        "another feed": (key, value.replace(b"replay", b"live")),
        "numbers as text": (key, value.replace(b'"v":5', b'"v":"5"')),
        "prices below 0": (key, value.replace(b'"p":', b'"p":-')),
        HUGE: (key, b'{"type":"' + b"x" * HUGE_BYTES + b'"}'),
    }


def number_of(kind: str, count: int) -> int:
    return count // HUGE_SHARE if kind == HUGE else count


def poison(start: int, count: int) -> Iterator[Pair]:
    """Yield `count` invalid messages of all kinds in turn."""
    bad = [kind for kind in kinds(0) if kind not in (GOOD, HUGE)]
    for number in range(start, start + count):
        yield kinds(number)[HUGE if number % HUGE_SHARE == 0 else bad[number % len(bad)]]


class Worker:
    """A worker that has read all messages so far; it measures the cost of more."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes]) -> None:
        self._settings = settings
        self._process = process
        self._group = Group(settings, range(settings.kafka_partitions))
        self.sent = 0

    def read(self, pairs: list[Pair]) -> float:
        """Return the CPU seconds that `pairs` cost from being sent to their commit."""
        before = cpu_s([self._process])
        self.sent += send(self._settings, STOCKS_TOPIC, pairs)
        ends = end_offsets(self._settings, STOCKS_TOPIC)
        await_(lambda: self._group.committed() == ends, 600, "the worker to commit it all")
        return cpu_s([self._process]) - before

    def memory_mb(self) -> float:
        return psutil.Process(self._process.pid).memory_info().rss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    costs: dict[str, list[float]] = {kind: [] for kind in kinds(0)}
    with tempfile.TemporaryDirectory() as name, bench(Path(name)) as settings:
        ensure_topics(settings)
        log = Path(name) / "candles.log"
        with running(settings, "candles", log=log) as process:
            worker = Worker(settings, process)
            worker.read([good(0)])
            for round_ in range(given.rounds):
                print(f"round {round_ + 1} of {given.rounds}", file=sys.stderr)
                for kind, found in costs.items():
                    count = number_of(kind, given.messages)
                    first = round_ * given.messages
                    pairs = [kinds(number)[kind] for number in range(first, first + count)]
                    found.append(worker.read(pairs) / count * 1e6)
            lines = log.read_text().count("\n")
            worker.read(list(poison(0, given.messages)))
            first_mb = worker.memory_mb()
            for part in range(1, 10):
                worker.read(list(poison(part * given.messages, given.messages)))
            last_mb = worker.memory_mb()
            lines = log.read_text().count("\n") - lines
    base = median(costs[GOOD])
    good_bytes = len(good(0)[1])
    rows = [
        [
            kind,
            f"{len(kinds(0)[kind][1]):,}",
            "{min:,.0f} / {median:,.0f} / {max:,.0f}".format(**spread(found)),
            f"{median(found) / base:.2f}",
            f"{median(found) / base * good_bytes / len(kinds(0)[kind][1]):.3f}",
        ]
        for kind, found in costs.items()
    ]
    memory = {"after_mb": first_mb, "after_ten_times_mb": last_mb, "log_lines": lines}
    report(
        "poison",
        "What poison costs",
        ["message", "bytes", "µs CPU, min / median / max", "of a good one", "of it, a byte"],
        rows,
        {"us": {kind: spread(found) for kind, found in costs.items()}, "memory": memory},
        PROSE.format(
            first=first_mb,
            last=last_mb,
            count=given.messages,
            more=given.messages * 10,
            lines=lines,
        ).strip(),
        keep=given.keep or (given.messages, given.rounds) == (5_000, 5),
    )


if __name__ == "__main__":
    main()
