"""Run Kafka with a workload, and measure worker processes from outside."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from confluent_kafka import (
    OFFSET_BEGINNING,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from app.contracts import STOCKS_TOPIC, Candle, Message, decode_candle
from app.embedded.kafka import KafkaServer
from app.errors import TickhouseError
from app.settings import Settings
from app.topics import CANDLES_GROUP, ensure_topics
from tests.support import await_, consumer, delete_topics, end_offsets, send_messages

CHECK_INTERVAL_S = 0.1
"""The polling interval. Polling more often would take CPU time from what is measured."""
FAR_S = 900.0


class WorkerError(TickhouseError):
    """A worker failed, or makes no progress."""


def worker_log(settings: Settings) -> Path:
    """Return the log of a benchmark's workers; it is deleted with its folder."""
    return settings.tickhouse_data_dir / "candles.log"


class Cost(NamedTuple):
    """The time a contestant needs, from its first message to the commit of its last."""

    wall_s: float
    cpu_s: float
    """CPU time of the contestant's own processes, all threads, without Kafka's."""


@contextmanager
def bench(folder: Path) -> Iterator[Settings]:
    """Run Kafka for the duration of the block; yield settings for it with the feed replay."""
    with KafkaServer(folder / "kafka") as kafka:
        yield Settings(
            _env_file=None,  # type: ignore[call-arg]
            tickhouse_feed="replay",
            tickhouse_data_dir=folder,
            kafka_brokers=kafka.brokers,
        )


class Input:
    """A workload in the `stocks-topic` of a namespace; all contestants read the same copy."""

    def __init__(self, settings: Settings, namespace: str, messages: Iterable[Message]) -> None:
        self.settings = settings.model_copy(update={"tickhouse_namespace": namespace})
        ensure_topics(self.settings)
        self.messages = send_messages(self.settings, STOCKS_TOPIC, messages)
        self.ends = end_offsets(self.settings, STOCKS_TOPIC)

    def reset(self) -> None:
        """Delete what a run left behind, except the input: topics, the group, the state."""
        delete_all(self.settings, but=STOCKS_TOPIC)
        ensure_topics(self.settings)


def delete_all(settings: Settings, but: str | None = None) -> None:
    """Delete the topics, groups and state of a namespace whose processes have ended.

    :param but: a topic to keep.
    """
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    topics = admin.list_topics(timeout=30).topics
    ours = f"{settings.tickhouse_namespace}-"
    await_(lambda: _groups_are_gone(admin, ours), 60, "the groups of the last run to be empty")
    kept = settings.named(but) if but else None
    delete_topics(settings, [name for name in topics if ours in name and name != kept])
    shutil.rmtree(settings.home, ignore_errors=True)


def _groups_are_gone(admin: AdminClient, prefix: str) -> bool:
    """Delete the groups of a namespace; return False while an ended member still counts."""
    found = admin.list_consumer_groups(request_timeout=30).result().valid
    groups = [group.group_id for group in found if group.group_id.startswith(prefix)]
    if not groups:
        return True
    for done in admin.delete_consumer_groups(groups, request_timeout=30).values():
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                raise
            return False
    return True


class Group:
    """A consumer group of the namespace, queried through one client."""

    def __init__(
        self, settings: Settings, partitions: Iterable[int], name: str = CANDLES_GROUP
    ) -> None:
        self._log = worker_log(settings)
        self._name = settings.named(name)
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._reader = consumer(settings, **{"group.id": self._name})
        self._asked = [TopicPartition(settings.named(STOCKS_TOPIC), p) for p in partitions]

    def assigned(self) -> list[set[int]]:
        """Return which partitions of the input each member holds, once the group is stable."""
        found = self._admin.describe_consumer_groups([self._name], request_timeout=5)
        try:
            group = found[self._name].result()
        except KafkaException:  # the group's coordinator may not be available yet
            return []
        if group.state != ConsumerGroupState.STABLE:
            return []
        topic = self._asked[0].topic
        return [
            {at.partition for at in member.assignment.topic_partitions if at.topic == topic}
            for member in group.members
        ]

    def committed(self) -> dict[int, int]:
        """Return the committed offset by partition; 0 where none is committed."""
        try:
            found = self._reader.committed(self._asked, timeout=30)
        except KafkaException:  # the coordinator may be moving
            return dict.fromkeys((at.partition for at in self._asked), 0)
        return {at.partition: max(at.offset, 0) for at in found}

    def log_end(self) -> str:
        """Return the last lines of the workers' log."""
        return "\n".join(self._log.read_text().splitlines()[-20:])

    def close(self) -> None:
        self._reader.close()


def cpu_s(processes: Iterable[subprocess.Popen[bytes]]) -> float:
    """Return the CPU seconds (user and system) that running `processes` have used so far."""
    return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in processes)


def kafka_cpu_s() -> float:
    """Return the CPU seconds that this process's Kafka has used so far."""
    ours = psutil.Process().children(recursive=True)
    return sum(sum(our.cpu_times()[:2]) for our in ours if "kafka.Kafka" in our.cmdline())


def watched(group: Group, workers: list[subprocess.Popen[bytes]]) -> Iterator[dict[int, int]]:
    """Yield what `group` has committed, repeatedly, while its workers run.

    :raises WorkerError: a worker has ended, or the time limit was reached.
    """
    until_s = time.monotonic() + FAR_S
    while time.monotonic() < until_s:
        yield group.committed()
        if any(worker.poll() is not None for worker in workers):
            raise WorkerError("A worker has ended. The end of the log:\n" + group.log_end())
        time.sleep(CHECK_INTERVAL_S)
    raise WorkerError(
        f"The input was not committed within {FAR_S:.0f} s. The end of the log:\n{group.log_end()}"
    )


def measured(input_: Input, workers: list[subprocess.Popen[bytes]]) -> Cost:
    """Return the cost of `workers`, which were just started, until all input is committed.

    The clock starts when the group is stable, after start-up and imports.
    """
    group = Group(input_.settings, input_.ends)
    await_(lambda: len(group.assigned()) == len(workers), 120, "the workers to join")
    wall, cpu = time.perf_counter(), cpu_s(workers)
    for committed in watched(group, workers):
        if committed == input_.ends:
            break
    group.close()
    return Cost(time.perf_counter() - wall, cpu_s(workers) - cpu)


def batches(settings: Settings, topic: str) -> Iterator[list[Any]]:
    """Read a topic to its end, read committed, in batches of available messages."""
    reader = consumer(settings)
    name = settings.named(topic)
    partitions = range(settings.kafka_partitions)
    reader.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions])
    at_end: set[int] = set()
    while len(at_end) < len(partitions):
        batch = []
        for message in reader.consume(10_000, 0.05):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                at_end.add(message.partition())
            else:
                batch.append(message)
        if batch:
            yield batch
    reader.close()


def candles(settings: Settings, topic: str) -> list[Candle]:
    """Return every candle of a topic."""
    return [decode_candle(item.value()) for batch in batches(settings, topic) for item in batch]
