"""Show that stock Quix Streams applies offsets of a deleted topic to its recreated successor.

    python -m benchmarks.upstream.recreated_topic

An application processes ten messages and commits. While it runs, its topic is deleted, recreated
and filled with thirty messages. The consumer continues at its old position, so it skips the first
ten of them, and its commit is accepted for the new topic.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from quixstreams import Application

from app.embedded.kafka import KafkaServer

TOPIC = GROUP = "orders"
OLD, NEW = 10, 30
PATIENCE_S = 60.0


def create(admin: AdminClient) -> None:
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()


def send(brokers: str, name: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    for number in range(count):
        producer.produce(TOPIC, f"{name}-{number}".encode())
    producer.flush()


def await_(condition: Callable[[], bool]) -> bool:
    """Wait until `condition` holds, at most `PATIENCE_S`; whether it does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, KafkaServer(Path(name) / "kafka") as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.brokers})
        create(admin)
        send(kafka.brokers, "old", OLD)
        app = Application(
            kafka.brokers,
            consumer_group=GROUP,
            auto_offset_reset="earliest",
            commit_interval=0.5,
            state_dir=Path(name) / "state",
            loglevel=None,
        )
        processed: list[str] = []
        topic = app.topic(TOPIC, value_deserializer="str")
        app.dataframe(topic).update(processed.append)

        def recreate() -> None:
            await_(lambda: len(processed) == OLD)
            time.sleep(2)  # it is committed
            admin.delete_topics([TOPIC])[TOPIC].result()
            time.sleep(1)
            create(admin)
            send(kafka.brokers, "new", NEW)
            await_(lambda: f"new-{NEW - 1}" in processed)
            time.sleep(2)
            app.stop()

        driver = threading.Thread(target=recreate)
        driver.start()
        try:
            app.run()
        finally:
            driver.join()
        new = [value for value in processed if value.startswith("new")]
        print(f"sent to the recreated topic: {NEW} messages, new-0 to new-{NEW - 1}")
        print(f"processed of them: {len(new)}, {new[0]} to {new[-1]}" if new else "processed: none")
        request = [TopicPartition(TOPIC, 0)]
        with app.get_consumer() as consumer:
            (committed,) = consumer.committed(request, timeout=30)
        print(f"committed offset in the recreated topic: {committed.offset}", flush=True)


if __name__ == "__main__":
    main()
