"""Show that librdkafka crashes when an AdminClient asks for a new cluster's committed offsets.

    python -m benchmarks.upstream.offsets_without_coordinator

While `__consumer_offsets` is being created, a broker may answer OffsetFetch with NOT_COORDINATOR.
librdkafka then asks its consumer group for the coordinator, and an AdminClient has no group. Each
attempt starts a new cluster; the client is a separate process, because it may end by SIGSEGV.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from app.embedded.kafka import KafkaServer

ATTEMPTS = 6
TIMEOUT_S = 60
BY_ADMIN = """
import sys
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1], "log_level": 0})
for number in range(400):
    asked = ConsumerGroupTopicPartitions(f"group-{number}")
    for answer in admin.list_consumer_group_offsets([asked], request_timeout=10).values():
        answer.exception()
"""
BY_CONSUMER = """
import sys
from confluent_kafka import Consumer, KafkaException, TopicPartition
for number in range(400):
    config = {"bootstrap.servers": sys.argv[1], "group.id": f"group-{number}", "log_level": 0}
    consumer = Consumer(config)
    try:
        consumer.committed([TopicPartition("input", 0)], timeout=10)
    except KafkaException:
        pass
    consumer.close()
"""


def attempt(client: str) -> int:
    """Exit code of `client` on a new cluster; negative when a signal ended it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaServer(Path(folder), log=Path(folder) / "log") as kafka,
    ):
        command = [sys.executable, "-c", client, kafka.brokers]
        return subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode


def main() -> None:
    for name, client in {"AdminClient": BY_ADMIN, "Consumer": BY_CONSUMER}.items():
        codes = [attempt(client) for _ in range(ATTEMPTS)]
        crashes = sum(code < 0 for code in codes)
        print(f"{name}: {crashes} of {ATTEMPTS} processes were ended by a signal {codes}")


if __name__ == "__main__":
    main()
