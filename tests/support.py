"""What several integration tests need: settings, child processes, topics, waiting."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from app.contracts import Message, encode
from app.embedded.environment import child_environment
from app.embedded.s3 import S3Server
from app.settings import Settings
from app.topics import topic_ids

TICKHOUSE = str(Path(sys.executable).with_name("tickhouse"))
"""The console script of the environment that runs the tests."""

HANG_S = 600.0
"""How long a test waits for an event before it counts as hung; no test passes by this time-out."""

T = TypeVar("T")


def settings_on(s3: S3Server, data_dir: Path, **overrides: Any) -> Settings:
    """Settings of feed replay with a new namespace, their lake on `s3`; any field by keyword."""
    values: dict[str, Any] = {
        "_env_file": None,
        "tickhouse_namespace": f"t-{uuid.uuid4().hex[:10]}",
        "tickhouse_feed": "replay",
        "tickhouse_data_dir": data_dir,
        "lake_endpoint_url": s3.endpoint_url,
        "lake_bucket": s3.bucket,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": SecretStr(s3.secret_key),
    }
    return Settings(**(values | overrides))


def start(
    settings: Settings,
    *command: str,
    log: Path | None = None,
    program: Sequence[str] = (TICKHOUSE,),
    more: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """`tickhouse COMMAND`, or another program, as a child process, its output in `log`.

    :param more: of its environment.
    """
    output = log.open("ab") if log else None
    return subprocess.Popen(
        [*program, *command],
        env=child_environment(settings) | dict(more or {}),
        stdout=output,
        stderr=subprocess.STDOUT if log else None,
    )


@contextmanager
def running(
    settings: Settings,
    *command: str,
    log: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """`tickhouse COMMAND` while the block runs; ended by SIGTERM. Parameters as of `start`."""
    process = start(settings, *command, log=log, more=more)
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], timeout_s: float = 120) -> int:
    """End a child by SIGTERM; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def await_(condition: Callable[[], T], timeout_s: float = HANG_S, what: str = "it") -> T:
    """The first true value of `condition`, asked again until the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}, in vain"
        time.sleep(0.05)


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """The addresses that those of `processes` that still run take connections at."""
    addresses = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("tcp")
            addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return {address.removeprefix("::ffff:") for address in addresses}


def send(
    settings: Settings, topic: str, messages: Iterable[tuple[Any, Any]], timeout_s: float = HANG_S
) -> int:
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
    assert producer.flush(timeout_s) == 0
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
            "topic.metadata.refresh.interval.ms": 1_000,  # of a topic just made, leaders are new
            "log_level": 0,
        }
        | more
    )


def read_topic(
    settings: Settings,
    topic: str,
    isolation: str = "read_committed",
    timeout_s: float = HANG_S,
    until: Callable[[Any], bool] | None = None,
) -> list[Any]:
    """Every Kafka message of a topic, partition by partition in order.

    :param until: told of each message as it comes; the topic is read on beyond its end until this
        is true of one.
    """
    reader = consumer(settings, isolation)
    name = settings.named(topic)
    partitions = reader.list_topics(name, timeout=timeout_s).topics[name].partitions
    reader.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions])
    found: dict[int, list[Any]] = {number: [] for number in partitions}
    at_end: set[int] = set()
    deadline = time.monotonic() + timeout_s
    wanted = False
    while not wanted and (until or len(at_end) < len(partitions)):
        assert time.monotonic() < deadline, f"{name} was not read to its end in {timeout_s:.0f} s"
        for message in reader.consume(10_000, timeout=0.1):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error().str()
                at_end.add(message.partition())
            elif not wanted:
                found[message.partition()].append(message)
                wanted = until is not None and until(message)
    reader.close()
    return [message for number in sorted(found) for message in found[number]]


def values(messages: Iterable[Any]) -> list[Any]:
    """The JSON values of Kafka messages."""
    return [json.loads(message.value()) for message in messages]


def delete_topics(settings: Settings, names: Iterable[str]) -> None:
    """Delete topics, named with their namespace; they are gone on return."""
    doomed = list(names)
    admin = AdminClient(settings.kafka_client())
    for done in admin.delete_topics(doomed).values():
        done.result(HANG_S)
    await_(lambda: not topic_ids(settings, doomed), what="the topics to be gone")


def end_offsets(
    settings: Settings, topic: str, isolation: str = "read_committed"
) -> dict[int, int]:
    """By partition, the offset behind its last message that such a reader sees."""
    reader = consumer(settings, isolation)
    name = settings.named(topic)

    def ends() -> dict[int, int]:
        try:
            partitions = reader.list_topics(name, timeout=10).topics[name].partitions
            offsets = {number: TopicPartition(name, number) for number in partitions}
            return {
                number: reader.get_watermark_offsets(offset, timeout=10)[1]
                for number, offset in offsets.items()
            }
        except KafkaException:  # a topic just made or a broker just back: leaders are new
            return {}

    found = await_(ends, what=f"the ends of {name}")
    reader.close()
    return found


def committed_offsets(settings: Settings, topic: str, group: str) -> dict[int, int]:
    """By partition, the committed offset of a group of the namespace (0 without a commit)."""
    reader = consumer(settings, **{"group.id": settings.named(group)})
    name = settings.named(topic)
    partitions = reader.list_topics(name, timeout=60).topics[name].partitions
    asked = [TopicPartition(name, number) for number in partitions]
    try:
        return {p.partition: max(p.offset, 0) for p in reader.committed(asked, timeout=10)}
    except KafkaException:  # a group's coordinator may be elsewhere, or not yet anywhere
        return dict.fromkeys(partitions, 0)
    finally:
        reader.close()


def await_consumed(
    settings: Settings, topic: str, group: str, timeout_s: float = HANG_S
) -> dict[int, int]:
    """Wait until `group` has committed all of `topic`; its end offsets."""
    ends = end_offsets(settings, topic)

    def done() -> bool:
        return committed_offsets(settings, topic, group) == ends

    await_(done, timeout_s, f"{group} to commit all of {topic}")
    return ends
