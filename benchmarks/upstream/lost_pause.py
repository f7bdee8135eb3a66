"""Show that a pause right after an assignment, as Quix Streams makes, can get lost or stop a fetch.

    python -m benchmarks.upstream.lost_pause [SECONDS]

`Application._assign_partitions` assigns partitions without offsets and pauses its changelogs at
once. librdkafka requests the committed offsets and starts fetching when it has them. If such a
start and the pause coincide, one of them can be lost. Here a consumer of stock Quix Streams
repeatedly assigns partitions, and pauses all of them after a random delay. A message of a paused
partition shows that its pause was lost; a partition without messages after a resume shows that its
start was lost.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from random import Random

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from quixstreams import Application
from quixstreams.kafka.consumer import BaseConsumer

from app.embedded.kafka import KafkaServer

TOPIC = "changelog"
PARTITIONS = 200
MESSAGES = 20
"""Per partition; the first is committed."""
MAX_DELAY_S = 0.015
WATCH_S = 0.05
RESUMED_S = 60.0


def fill(brokers: str) -> None:
    """Create the topic with the same number of messages in each partition."""
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result()
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 50})
    for _ in range(MESSAGES):
        for partition in range(PARTITIONS):
            producer.produce(TOPIC, b"value", partition=partition)
        producer.flush()


def read(consumer: BaseConsumer, seconds: float, enough: int = PARTITIONS) -> set[int]:
    """Return the partitions of all messages within `seconds`, or of `enough` partitions."""
    found: set[int] = set()
    deadline = time.monotonic() + seconds
    while len(found) < enough and time.monotonic() < deadline:
        message = consumer.poll(0.05)
        if message is not None and not message.error():
            found.add(message.partition() or 0)
    return found


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120
    random = Random(1)
    rounds = pauses = starts = 0
    with tempfile.TemporaryDirectory() as name, KafkaServer(Path(name) / "kafka") as kafka:
        fill(kafka.brokers)
        app = Application(kafka.brokers, consumer_group="group", loglevel=None)
        partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        with app.get_consumer(auto_commit_enable=False) as consumer:
            committed = [TopicPartition(TOPIC, number, 1) for number in range(PARTITIONS)]
            consumer.commit(offsets=committed, asynchronous=False)
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                consumer.assign(partitions)
                time.sleep(random.random() * MAX_DELAY_S)
                consumer.pause(partitions)
                pauses += len(read(consumer, WATCH_S))
                consumer.resume(partitions)
                starts += PARTITIONS - len(read(consumer, RESUMED_S))
                consumer.unassign()
                rounds += 1
    print(f"{rounds} assignments, each followed by a pause of its {PARTITIONS} partitions")
    print(f"lost pauses: {pauses}, lost starts: {starts}")


if __name__ == "__main__":
    main()
