"""Show that an error of a rebalance callback ends as SystemError when other callbacks follow it.

    python -m benchmarks.upstream.raised_in_callback

confluent-kafka leaves the error set while the same poll serves further callbacks. Here these are
for librdkafka's debug lines; in a worker they are for lines about an unavailable broker.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from app.embedded.kafka import KafkaServer

TOPIC = "input"
ATTEMPTS = 10


def attempt(brokers: str, number: int, **config: object) -> str:
    """Return the error of polling a consumer whose `on_assign` raises LookupError."""

    def fail(*_: object) -> None:
        raise LookupError

    required = {"bootstrap.servers": brokers, "group.id": f"group-{number}-{len(config)}"}
    consumer = Consumer(required | config, logger=logging.getLogger("librdkafka"))
    consumer.subscribe([TOPIC], on_assign=fail)
    try:
        while True:
            consumer.poll(1)
    except (LookupError, SystemError) as error:
        return type(error).__name__


def main() -> None:
    logging.basicConfig(level=logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaServer(Path(folder), log=Path(folder) / "log") as kafka,
    ):
        admin = AdminClient({"bootstrap.servers": kafka.brokers})
        admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result()
        for name, config in {"no other callback": {}, "debug lines": {"debug": "all"}}.items():
            found = [attempt(kafka.brokers, number, **config) for number in range(ATTEMPTS)]
            counts = ", ".join(f"{kind} {found.count(kind)}" for kind in sorted(set(found)))
            print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
