"""What several integration tests need: child processes, topics read to their end, waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from pydantic import SecretStr

from app.contracts import Message, encode
from app.settings import Settings

T = TypeVar("T")


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a child process has `settings`."""
    values = dict(os.environ)
    for name in Settings.model_fields:
        value = getattr(settings, name)
        values.pop(name.upper(), None)
        if value is None:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        values[name.upper()] = ",".join(value) if isinstance(value, tuple) else str(value)
    return values


def start(settings: Settings, *command: str, log: Path | None = None) -> subprocess.Popen[bytes]:
    """`tickhouse COMMAND` as a child process, its output in `log`."""
    call = [sys.executable, "-c", "from app.cli import main; main()", *command]
    output = log.open("ab") if log else None
    return subprocess.Popen(
        call, env=environment(settings), stdout=output, stderr=subprocess.STDOUT if log else None
    )


@contextmanager
def running(
    settings: Settings, *command: str, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`tickhouse COMMAND` while the block runs; ended by SIGTERM."""
    process = start(settings, *command, log=log)
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], timeout_s: float = 30) -> int:
    """End a child by SIGTERM; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def await_(condition: Callable[[], T], timeout_s: float = 60, what: str = "it") -> T:
    """The first true value of `condition`, asked again until the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}, in vain"
        time.sleep(0.05)


def send(settings: Settings, topic: str, messages: Iterable[tuple[Any, Any]]) -> int:
    """Produce (key, value) pairs to a topic of the namespace, in their order; how many."""
    producer = Producer(
        settings.kafka_client()
        | {"partitioner": "murmur2", "linger.ms": 20, "enable.idempotence": True}
        | {"message.max.bytes": 8 * 1024 * 1024}
    )
    count = 0
    for key, value in messages:
        while True:
            try:
                producer.produce(settings.named(topic), value=value, key=key)
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    assert producer.flush(60) == 0
    return count


def send_messages(settings: Settings, topic: str, messages: Iterable[Message]) -> int:
    """Produce messages of the contract under their symbols."""
    return send(settings, topic, ((message.symbol, encode(message)) for message in messages))


def consumer(settings: Settings, isolation: str = "read_committed", **more: Any) -> Consumer:
    return Consumer(
        settings.kafka_client()
        | {
            "group.id": f"{settings.tickhouse_namespace}-test-reader",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
        | more
    )


def read_topic(
    settings: Settings, topic: str, isolation: str = "read_committed", timeout_s: float = 60
) -> list[Any]:
    """Every Kafka message of a topic, partition by partition in order."""
    reader = consumer(settings, isolation)
    name = settings.named(topic)
    partitions = reader.list_topics(name, timeout=10).topics[name].partitions
    reader.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions])
    found: dict[int, list[Any]] = {number: [] for number in partitions}
    open_ends = set(partitions)
    deadline = time.monotonic() + timeout_s
    while open_ends:
        assert time.monotonic() < deadline, f"{name} has no end after {timeout_s} s"
        for message in reader.consume(10_000, timeout=0.5):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF
                open_ends.discard(message.partition())
            else:
                found[message.partition()].append(message)
    reader.close()
    return [message for number in sorted(found) for message in found[number]]


def values(messages: Iterable[Any]) -> list[Any]:
    """The JSON values of Kafka messages."""
    return [json.loads(message.value()) for message in messages]


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """By partition, the offset behind its last message."""
    reader = consumer(settings)
    name = settings.named(topic)
    partitions = reader.list_topics(name, timeout=10).topics[name].partitions
    ends = {
        number: reader.get_watermark_offsets(TopicPartition(name, number), timeout=10)[1]
        for number in partitions
    }
    reader.close()
    return ends


def committed_offsets(settings: Settings, topic: str, group: str) -> dict[int, int]:
    """By partition, the committed offset of a group of the namespace (0 when there is none)."""
    reader = consumer(settings, **{"group.id": settings.named(group)})
    name = settings.named(topic)
    partitions = reader.list_topics(name, timeout=10).topics[name].partitions
    asked = [TopicPartition(name, number) for number in partitions]
    try:
        return {p.partition: max(p.offset, 0) for p in reader.committed(asked, timeout=10)}
    except KafkaException:  # a group's coordinator may be elsewhere, or not yet anywhere
        return dict.fromkeys(partitions, 0)
    finally:
        reader.close()


def await_consumed(
    settings: Settings, topic: str, group: str, timeout_s: float = 120
) -> dict[int, int]:
    """Wait until `group` has committed all of `topic`; its end offsets."""
    ends = end_offsets(settings, topic)

    def done() -> bool:
        return committed_offsets(settings, topic, group) == ends

    await_(done, timeout_s, f"{group} to commit all of {topic}")
    return ends
