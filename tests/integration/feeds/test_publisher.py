"""What the publisher keeps of messages that a real Kafka did not take."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.contracts import Trade, Trades, decode
from app.embedded.kafka import KafkaServer
from app.feeds.publisher import Publisher
from app.feeds.spill import SpillFile
from app.settings import Settings
from app.topics import ensure_topics

M = 1_731_600_060_000
KNOWN, WAITING, LAST = 10, 1_000, 500


@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
def test_what_is_kept_at_the_end_is_kept_in_its_order(
    trouble: signal.Signals,
    private_kafka: KafkaServer,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    publisher = Publisher(settings, tmp_path / "spill")
    publisher.send(map(_numbered, range(KNOWN)))
    assert publisher.flush(10) == 0
    assert private_kafka.pid
    os.killpg(private_kafka.pid, trouble)
    for number in range(KNOWN, KNOWN + WAITING):
        publisher.send([_numbered(number)])  # some on their way, some in the client's inner queue
        time.sleep(0.001)
    end = KNOWN + WAITING + LAST
    publisher.send(map(_numbered, range(KNOWN + WAITING, end)))
    count = publisher.keep()
    private_kafka.kill()
    assert count == WAITING + LAST
    assert _kept(tmp_path / "spill") == list(range(KNOWN, end))


def _numbered(number: int) -> Trades:
    """A message that is joined to no other."""
    return Trades("A", "replay", "src", f"c-{number}", M + number, [Trade(M, 1, 1, None)])


def _kept(path: Path) -> list[int]:
    file = SpillFile(path)
    found: list[int] = []
    while file:
        for record in file.read():
            message = decode(record.key, record.value, "replay").message
            assert isinstance(message, Trades)
            found.append(message.received_at - M)
    return found
