"""Run candles workers through seeded failures and compare their output with an undisturbed run.

While the input arrives, workers are killed (-9), lose their local state, become one, two or three,
and the broker is restarted, killed and away. What they wrote, read committed, is compared with the
output of one worker that nothing disturbed: every record, all fields, in each partition's order.
Kafka's own offsets and timestamps of the output are not compared, and the topic's id and name,
which differ between the two runs, are left out.

    python -m tests.integration.topologies.crash_driver --seed 7 --kills 20 --away-s 120

runs the long form on a Kafka of its own (`make crash-test SEED=7`). The seed decides the input and
the acts; at which record an act falls depends on the machine too.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from confluent_kafka import TopicPartition

from app.contracts import LIVE_TOPIC, STOCKS_TOPIC
from app.embedded.kafka import KafkaServer
from app.settings import Settings
from app.topics import CANDLES_GROUP, TOPICS, ensure_topics
from tests.integration.feeder import Feeder, Pair
from tests.integration.topologies.workload import messages, shares
from tests.support import (
    await_consumed,
    consumer,
    end_offsets,
    read_topic,
    running,
    send,
    start,
    stop,
    values,
)

OUTPUTS = tuple(topic for topic in TOPICS if topic != STOCKS_TOPIC)
MAX_WORKERS = 3
PATIENCE_S = 180
"""How long the workers may take to resume after a failure."""
TAIL_CHARACTERS = 5_000
STOPPED = (0, -signal.SIGTERM)
"""Exit codes of a stopped worker: while it works, and while it starts or waits for Kafka."""

Output = dict[str, list[tuple[int, bytes | None, dict[str, Any]]]]
Report = Callable[[str], None]


class Act(NamedTuple):
    """A failure; it is injected `after_s` after the first commit that follows the previous one."""

    kind: Literal["kill", "kill and wipe", "workers", "stop broker", "kill broker"]
    after_s: float
    number: int = 0
    """The number of workers from now on, or the seconds the broker is down."""


def plan(rng: random.Random, kills: int, away_s: int) -> list[Act]:
    """Plan `kills` kills, every fourth with loss of local state, and all other failures between."""
    kinds: list[Any] = [
        ("kill and wipe" if number % 4 == 3 else "kill", 0) for number in range(kills)
    ]
    kinds += [("stop broker", 0), ("kill broker", 0), ("kill broker", away_s)]
    rng.shuffle(kinds)
    counts = [2, 3, 1] * (kills // 6 + 1)
    step = len(kinds) / len(counts)
    for index, count in enumerate(counts):
        kinds.insert(round(index * step) + index, ("workers", count))
    return [Act(kind, rng.uniform(0, 0.6), number) for kind, number in kinds]


def await_commit(settings: Settings, timeout_s: float = PATIENCE_S) -> None:
    """Wait until a read-committed consumer of `candles-live` gets further records."""
    ends = end_offsets(settings, LIVE_TOPIC)
    name = settings.named(LIVE_TOPIC)
    reader = consumer(settings, **{"enable.partition.eof": False})
    reader.assign([TopicPartition(name, at, ends[at]) for at in ends])
    deadline = time.monotonic() + timeout_s
    while True:
        message = reader.poll(1)
        if message is not None and not message.error():
            break
        assert time.monotonic() < deadline, f"nothing was committed in {timeout_s:.0f} s"
    reader.close()


class Workers:
    """Candles workers on one state folder; each takes the first free instance number."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def check(self) -> None:
        """Assert that no worker has ended by itself."""
        for number, worker in self._running.items():
            if (code := worker.poll()) is not None:
                raise AssertionError(f"worker {number} ended with {code}:\n{self._tail(number)}")

    def set_count(self, count: int) -> None:
        """Start or stop (SIGTERM) workers until `count` run."""
        while len(self._running) > count:
            number = max(self._running)
            code = stop(self._running.pop(number), PATIENCE_S)
            assert code in STOPPED, f"worker {number} ended with {code}:\n{self._tail(number)}"
        while len(self._running) < count:
            self._start(next(n for n in range(MAX_WORKERS) if n not in self._running))

    def kill(self, rng: random.Random, wipe: bool = False) -> int:
        """Kill -9 a worker and restart it, without its local state if `wipe`; return its number."""
        number = rng.choice(sorted(self._running))
        worker = self._running.pop(number)
        worker.kill()
        worker.wait()
        state = self._settings.state_dir / CANDLES_GROUP / str(number)
        if wipe and state.exists():  # one that was killed at its start has none
            shutil.rmtree(state)
        self._start(number)
        return number

    def end(self) -> None:
        """Stop all workers, by SIGKILL if necessary."""
        for worker in self._running.values():
            with suppress(AssertionError):
                stop(worker)
        self._running.clear()

    def _start(self, number: int) -> None:
        mine = self._settings.model_copy(update={"tickhouse_instance": number})
        self._running[number] = start(mine, "candles", log=self._log_of(number))

    def _log_of(self, number: int) -> Path:
        return self._log.with_suffix(f".{number}.log")

    def _tail(self, number: int) -> str:
        return self._log_of(number).read_text(errors="replace")[-TAIL_CHARACTERS:]


class Trouble:
    """Injects failures into running workers and their broker."""

    def __init__(
        self, settings: Settings, kafka: KafkaServer, rng: random.Random, log: Path, report: Report
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._rng = rng
        self._report = report
        self._workers = Workers(settings, log)

    def play(self, acts: list[Act], feeder: Feeder) -> None:
        """Inject all failures during work, then let the workers read to the end."""
        self._workers.set_count(1)
        feeder.release()
        began = time.monotonic()
        for number, act in enumerate(acts, 1):
            feeder.release()
            await_commit(self._settings)
            time.sleep(act.after_s)
            self._workers.check()
            what = self._do(act)
            self._report(f"{time.monotonic() - began:6.1f} s  {number:2} of {len(acts)}: {what}")
        feeder.finish()
        self._workers.check()

    def end(self) -> None:
        self._workers.end()

    def _do(self, act: Act) -> str:
        if act.kind == "workers":
            self._workers.set_count(act.number)
            return f"{act.number} workers"
        if act.kind in ("kill", "kill and wipe"):
            number = self._workers.kill(self._rng, wipe=act.kind == "kill and wipe")
            return f"{act.kind} worker {number}"
        if act.kind == "kill broker":
            self._kafka.kill()
        else:
            self._kafka.stop()
        if act.number:
            time.sleep(act.number / 2)
            number = self._workers.kill(self._rng)
            time.sleep(act.number / 2)
        self._kafka.start()
        more = f", {act.number} s away, worker {number} killed meanwhile" if act.number else ""
        return f"{act.kind}, started again{more}"


def outputs(settings: Settings) -> Output:
    """Every output record, read committed, by topic: partition, key, value, in order."""
    found: Output = {}
    for topic in OUTPUTS:
        read = read_topic(settings, topic, timeout_s=PATIENCE_S)
        records = values(read)
        for record in records:
            record.pop("_topic_id", None)
            record.pop("topic", None)
        found[topic] = [
            (message.partition(), message.key(), record)
            for message, record in zip(read, records, strict=True)
        ]
    return found


def undisturbed(settings: Settings, sent: list[Pair], log: Path) -> Output:
    """The output of one worker without failures."""
    ensure_topics(settings)
    send(settings, STOCKS_TOPIC, sent)
    with running(settings, "candles", log=log):
        await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP, PATIENCE_S)
    return outputs(settings)


def disturbed(
    settings: Settings,
    kafka: KafkaServer,
    sent: list[Pair],
    acts: list[Act],
    rng: random.Random,
    log: Path,
    report: Report,
) -> Output:
    """The output of workers with the failures `acts`."""
    ensure_topics(settings)
    feeder = Feeder(settings, sent, parts=len(acts) + 2)
    trouble = Trouble(settings, kafka, rng, log, report)
    try:
        trouble.play(acts, feeder)
        await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP, PATIENCE_S)
    finally:
        feeder.finish()
        trouble.end()
    return outputs(settings)


def difference(expected: Output, actual: Output) -> str:
    """Describe the first record that differs; empty if none does."""
    for topic in OUTPUTS:
        for number, (wanted, found) in enumerate(zip(expected[topic], actual[topic], strict=False)):
            if wanted != found:
                return f"record {number} of {topic} is {found}, undisturbed it was {wanted}"
        if len(expected[topic]) != len(actual[topic]):
            lengths = f"{len(actual[topic])} records, undisturbed {len(expected[topic])}"
            return f"{topic} has {lengths}"
    return ""


def crash(
    settings: Callable[[str], Settings],
    kafka: KafkaServer,
    folder: Path,
    seed: int,
    kills: int,
    away_s: int,
    count: int,
    report: Report = print,
) -> tuple[Output, str]:
    """Run with and without failures; return the undisturbed output and the first difference.

    :param settings: makes the settings of a run of that name, each with its own namespace.
    :param count: how many messages the input has, about.
    """
    rng = random.Random(seed)
    acts = plan(rng, kills, away_s)
    sent = list(messages(seed, count))
    report(f"seed {seed}: {len(acts)} acts, {dict(Counter(act.kind for act in acts))}")
    report(f"input: {len(sent)} messages; " + report_shares(shares(sent)))
    expected = undisturbed(settings("undisturbed"), sent, folder / "undisturbed.log")
    report("undisturbed: " + ", ".join(f"{len(of)} in {topic}" for topic, of in expected.items()))
    actual = disturbed(settings("disturbed"), kafka, sent, acts, rng, folder / "disturbed", report)
    found = difference(expected, actual)
    report(found or "disturbed: the same, record for record, all fields")
    return expected, found


def report_shares(found: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {share:.2%}" for name, share in found.items() if name not in ("messages", "trades")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--away-s", type=int, default=120)
    parser.add_argument("--messages", type=int, default=60_000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tickhouse-crash-"))
    with KafkaServer(folder / "kafka") as kafka:

        def settings(name: str) -> Settings:
            return Settings(
                _env_file=None,
                tickhouse_namespace=name,
                tickhouse_feed="replay",
                tickhouse_data_dir=folder,
                kafka_brokers=kafka.brokers,
                kafka_partitions=6,
                candle_commit_interval_s=0.3,
            )

        _, found = crash(
            settings, kafka, folder, given.seed, given.kills, given.away_s, given.messages
        )
    if found:
        raise SystemExit(f"seed {given.seed} shows a difference; logs and state lie in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
