"""Compare two workers with one, at one trade per message, exactly-once and at-least-once.

The workers are assigned and idle before the input becomes visible, all at once, by the commit of a
transaction. So both are active from the first message on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from app.contracts import CANDLES_TOPIC, STOCKS_TOPIC, Message, encode
from app.embedded.environment import child_environment
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._bench import (
    Group,
    bench,
    candles,
    cpu_s,
    delete_all,
    kafka_cpu_s,
    watched,
    worker_log,
)
from benchmarks._reference import Full, Key, Prints, check, full
from benchmarks._report import report, spread
from benchmarks._workload import Workload
from tests.support import TICKHOUSE, await_, end_offsets, stop
from topologies.core.window import newest

TRADES, RUNS = 600_000, 5
GUARANTEES = {
    "exactly-once": [TICKHOUSE, "candles"],
    "at-least-once": [sys.executable, "-m", "benchmarks._at_least_once"],
}
WORKERS = (1, 2)
SEND_TIMEOUT_MS = 600_000

COLUMNS = [
    "guarantee",
    "workers",
    "trades/s, all active: min · median · max",
    "of one worker",
    "CPU s a million trades",
    "of one worker",
    "Kafka's CPU beside it",
    "share of each worker",
]
PROSE = """\
{trades:,} trades, one a message, of the workload of the candles benchmark; {runs} interleaved runs,
{partials} partial candles, 4 partitions; Kafka uses the same cores.

- *all active*: from the moment the input becomes visible until the first worker has committed all
  of its partitions.
- *CPU* is that of all workers with all threads.
- *at-least-once* is the same application built with the other guarantee; `tickhouse candles` runs
  exactly-once.
- Kafka's CPU is in seconds per million trades and uses the same cores. If the cores were never idle
  and did nothing but the work of one worker and of Kafka for each trade, two workers would be
  {ideal_speedup}.

Aims: two workers are at least 1.3 times as fast as one with exactly-once and 1.6 times with
at-least-once, and their CPU per trade differs by at most 25 %.

Quix Streams assigns partitions by *range*, and has to: it subscribes to the changelog together with
the input, and only *range* assigns the same partitions of both to a worker. Every worker gets the
same number of partitions as any other, plus or minus one. How many messages a partition has depends
on its symbols.
"""


class Run(NamedTuple):
    """The results of a run."""

    trades_a_second: float
    """Rate of all workers together while all were active."""
    cpu_s: float
    kafka_cpu_s: float
    shares: list[float]
    """Share of the messages by worker."""


class Progress:
    """When each worker had committed how many messages."""

    def __init__(self, partitions: list[set[int]], ends: dict[int, int]) -> None:
        self._partitions = partitions
        self._ends = ends
        self._seen = [[(0.0, 0)] for _ in partitions]

    def record(self, at_s: float, committed: dict[int, int]) -> bool:
        """Record what is committed `at_s` after the start; return whether that is all."""
        for held, seen in zip(self._partitions, self._seen, strict=True):
            count = sum(min(committed[item], self._ends[item]) for item in held)
            if count > seen[-1][1]:
                seen.append((at_s, count))
        return all(committed[item] >= end for item, end in self._ends.items())

    def messages_a_second(self) -> float:
        """Return the rate of all workers until the first of them had finished."""
        first_s = min(seen[-1][0] for seen in self._seen)
        until = [max(item for item in seen if item[0] <= first_s) for seen in self._seen]
        return sum(count / at_s for at_s, count in until if count)

    def shares(self) -> list[float]:
        """Return the share of all messages by worker."""
        counts = [sum(self._ends[item] for item in held) for held in self._partitions]
        return sorted((count / sum(counts) for count in counts), reverse=True)


class UncommittedInput:
    """A workload in `stocks-topic`, in a transaction that is still open."""

    def __init__(self, settings: Settings, messages: Iterable[Message]) -> None:
        self._producer = Producer(
            settings.kafka_client()
            | {"transactional.id": settings.named("input"), "partitioner": "murmur2"}
            | {"transaction.timeout.ms": SEND_TIMEOUT_MS, "linger.ms": 20, "log_level": 3}
        )
        self._producer.init_transactions(60)
        self._producer.begin_transaction()
        topic = settings.named(STOCKS_TOPIC)
        for message in messages:
            self._produce(topic, message)
        assert self._producer.flush(120) == 0
        self.ends = end_offsets(settings, STOCKS_TOPIC, isolation="read_uncommitted")

    def commit(self) -> None:
        """Commit the transaction, so that readers see its messages."""
        self._producer.commit_transaction(60)

    def _produce(self, topic: str, message: Message) -> None:
        while True:
            try:
                self._producer.produce(topic, encode(message), message.symbol)
                return
            except BufferError:
                self._producer.poll(0.05)


def run(settings: Settings, guarantee: str, workers: int, trades: int) -> Run:
    """Run `workers` on a fresh copy of the input, and check their candles."""
    ensure_topics(settings)
    workload, prints = Workload(trades, [1]), Prints()
    input_ = UncommittedInput(settings, prints.recorded(workload))
    with ExitStack() as stack:
        processes = [_worker(settings, guarantee) for _ in range(workers)]
        for process in processes:
            stack.callback(stop, process)
        group = Group(settings, input_.ends)
        stack.callback(group.close)
        held = await_(lambda: _spread_over(group, workers), 180, "the workers to share the input")
        progress = Progress(held, input_.ends)
        cpu, kafka = cpu_s(processes), kafka_cpu_s()
        input_.commit()
        began = time.perf_counter()
        for committed in watched(group, processes):
            if progress.record(time.perf_counter() - began, committed):
                break
        cpu, kafka = cpu_s(processes) - cpu, kafka_cpu_s() - kafka
    _check(settings, prints)
    delete_all(settings)
    per_message = workload.counts["trades"] / workload.counts["messages"]
    return Run(progress.messages_a_second() * per_message, cpu, kafka, progress.shares())


def _worker(settings: Settings, guarantee: str) -> subprocess.Popen[bytes]:
    log = worker_log(settings).open("ab")
    return subprocess.Popen(
        GUARANTEES[guarantee], env=child_environment(settings), stdout=log, stderr=log
    )


def _spread_over(group: Group, workers: int) -> list[set[int]]:
    held = group.assigned()
    return held if len(held) == workers and all(held) else []


def _check(settings: Settings, prints: Prints) -> None:
    last = newest(candles(settings, CANDLES_TOPIC)).values()
    found: dict[Key, Full] = {(c.symbol, c.window_start): full(c) for c in last}
    check(settings.tickhouse_namespace, found, prints.candles(by_tape=True))


def figures(runs: dict[tuple[str, int], list[Run]], trades: int) -> list[dict[str, Any]]:
    """Return the figures by guarantee and number of workers."""
    return [
        {
            "guarantee": guarantee,
            "workers": workers,
            "trades_a_second": spread([run.trades_a_second for run in of]),
            "cpu_s_a_million": spread([run.cpu_s * 1e6 / trades for run in of]),
            "kafka_cpu_s_a_million": spread([run.kafka_cpu_s * 1e6 / trades for run in of]),
            "shares": of[-1].shares,
        }
        for (guarantee, workers), of in runs.items()
    ]


def table(found: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows for `COLUMNS`; ratios are between medians."""
    item = {each["guarantee"]: each for each in found if each["workers"] == 1}

    def ratio(each: dict[str, Any], name: str) -> str:
        base = item.get(each["guarantee"])
        return f"{each[name]['median'] / base[name]['median']:.2f}" if base else ""

    return [
        [
            each["guarantee"],
            str(each["workers"]),
            "{min:,.0f} · {median:,.0f} · {max:,.0f}".format(**each["trades_a_second"]),
            ratio(each, "trades_a_second"),
            f"{each['cpu_s_a_million']['median']:.1f}",
            ratio(each, "cpu_s_a_million"),
            f"{each['kafka_cpu_s_a_million']['median']:.1f}",
            " · ".join(f"{share:.0%}" for share in each["shares"]),
        ]
        for each in found
    ]


def ideal_speedup(found: list[dict[str, Any]]) -> str:
    """Describe how much faster two workers could be if the machine's cores were never idle."""
    ratios = []
    for item, two in zip(found[::2], found[1::2], strict=True):
        cpu_s = item["cpu_s_a_million"]["median"] + two["kafka_cpu_s_a_million"]["median"]
        times = (os.cpu_count() or 1) * 1e6 / cpu_s / item["trades_a_second"]["median"]
        ratios.append(f"{times:.2f} times one {item['guarantee']}")
    return " and ".join(ratios)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trades", type=int, default=TRADES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", choices=list(GUARANTEES), help="one of the guarantees")
    parser.add_argument("--without-partials", action="store_true", help="CANDLE_LIVE off")
    parser.add_argument("--keep", action="store_true", help="leave the result though cut short")
    given = parser.parse_args()
    live = not given.without_partials
    chosen = [given.only] if given.only else list(GUARANTEES)
    runs: dict[tuple[str, int], list[Run]] = {(g, w): [] for g in chosen for w in WORKERS}
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as settings:
        for number in range(given.runs):
            for (guarantee, workers), of in runs.items():
                namespace = f"{guarantee}-{workers}-{number}"
                update = {"tickhouse_namespace": namespace, "candle_live": live}
                fresh = settings.model_copy(update=update)
                of.append(run(fresh, guarantee, workers, given.trades))
                print(f"{namespace}: {of[-1]}", file=sys.stderr)
    found = figures(runs, given.trades)
    report(
        "scaling",
        "Two workers beside one",
        COLUMNS,
        table(found),
        found,
        PROSE.format(
            trades=given.trades,
            runs=given.runs,
            partials="with" if live else "without",
            ideal_speedup=ideal_speedup(found),
        ),
        keep=given.keep or len(sys.argv) == 1,
    )


if __name__ == "__main__":
    main()
