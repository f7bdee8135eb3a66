"""What the publisher does with messages while a real Kafka is away, and what it logs about it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from app.contracts import STOCKS_TOPIC, Trade, Trades
from app.embedded.kafka import KafkaServer
from app.feeds.outbox.publisher import Publisher
from app.feeds.outbox.spill_file import SpillFile
from app.message_parser import decode
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.topic_reader import stocks, trades_of
from tests.support import await_, delete_topics

M = 1_731_600_060_000
KNOWN, WAITING, LAST = 10, 1_000, 500
MakeSettings = Callable[..., Settings]


@pytest.fixture
def on_private_kafka(private_kafka: KafkaServer, make_settings: MakeSettings) -> Settings:
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    return settings


@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
def test_what_is_kept_at_the_end_and_sent_by_the_next_start_is_all_of_it_in_its_order(
    trouble: signal.Signals,
    private_kafka: KafkaServer,
    on_private_kafka: Settings,
    tmp_path: Path,
) -> None:
    publisher = Publisher(on_private_kafka, tmp_path / "spill")
    publisher.send(map(_numbered, range(KNOWN)))
    assert publisher.flush(10) == 0
    assert private_kafka.pid
    os.killpg(private_kafka.pid, trouble)
    for number in range(KNOWN, KNOWN + WAITING):
        publisher.send([_numbered(number)])  # some on their way, some in the client's inner queue
        time.sleep(0.001)
    await_(lambda: _does_nothing(private_kafka.pid), what="Kafka to do nothing more")
    end = KNOWN + WAITING + LAST
    publisher.send(map(_numbered, range(KNOWN + WAITING, end)))
    count = publisher.spill_all()
    kept = _kept(tmp_path / "spill")
    assert kept == list(range(end - count, end)), "in order, to the last"
    assert count >= LAST, "of those none can have arrived"
    private_kafka.kill()
    private_kafka.start()
    arrived = _numbers(on_private_kafka)
    assert arrived == list(range(len(arrived))), "in order, from the first"
    assert len(arrived) >= end - count, "what is not kept has arrived"
    publisher = Publisher(on_private_kafka, tmp_path / "spill")
    assert publisher.flush(60) == 0
    assert list(dict.fromkeys(_numbers(on_private_kafka))) == list(range(end))


def _does_nothing(pid: int | None) -> bool:
    """Whether no thread of a process runs: all are stopped, or it is dead."""
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            states.append(task.read_text().rpartition(")")[2].split()[0])
        except OSError:  # it has just ended
            continue
    return set(states) <= {"T", "t", "Z", "X"}


class _Watched(Publisher):
    """Counts how often Kafka's client reports that no broker is connected."""

    troubles = 0

    def _on_client_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.troubles += 1
        super()._on_client_error(error)


def test_a_kafka_that_is_away_while_nothing_waits_is_back_when_it_answers_and_not_before(
    private_kafka: KafkaServer, on_private_kafka: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = _Watched(on_private_kafka)
    publisher.send([_numbered(1)])
    assert publisher.flush(10) == 0
    private_kafka.stop()

    def away(times: int) -> bool:
        publisher.serve()
        return publisher.troubles >= times and "does not answer" in caplog.text

    await_(lambda: away(5), what="Kafka to be away for some attempts")
    assert "answers again" not in caplog.text
    private_kafka.start()

    def back() -> bool:
        publisher.serve()
        return "answers again" in caplog.text

    await_(back, what="Kafka to answer")
    assert "answers again; no message waited" in caplog.text
    publisher.send([_numbered(2)])
    assert publisher.flush(30) == 0
    publisher.serve()
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1
    assert "that waited for Kafka are delivered" not in caplog.text


def test_what_waited_for_kafka_is_counted_and_reported_to_be_delivered_when_it_is(
    private_kafka: KafkaServer,
    on_private_kafka: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    publisher = Publisher(on_private_kafka)
    publisher.send([_numbered(1)])
    assert publisher.flush(10) == 0
    private_kafka.kill()
    publisher.send(map(_numbered, range(2, 7)))

    def reports(text: str) -> bool:
        publisher.serve()
        return text in caplog.text

    await_(lambda: reports("does not answer"))
    private_kafka.start()
    await_(lambda: reports("answers again"))
    await_(lambda: reports("messages that waited for Kafka are delivered"))
    assert _numbers(on_private_kafka) == list(range(1, 7))
    assert caplog.text.count("answers again; ") == 1
    assert "no message waited" not in caplog.text


def test_a_topic_that_is_away_while_kafka_goes_away_too_gets_all_of_it(
    private_kafka: KafkaServer, on_private_kafka: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(on_private_kafka)
    delete_topics(on_private_kafka, [on_private_kafka.named(STOCKS_TOPIC)])
    number = 0

    def reports(text: str) -> bool:
        nonlocal number
        number += 1
        publisher.offer([_numbered(number)])
        publisher.send_pending()
        publisher.serve()
        return text in caplog.text

    await_(lambda: reports("Messages wait until it is created again"))
    private_kafka.kill()
    await_(lambda: reports("does not answer"))
    private_kafka.start()
    ensure_topics(on_private_kafka)
    await_(lambda: reports("exists again"))
    assert publisher.flush(60) == 0
    assert sorted(_numbers(on_private_kafka)) == list(range(1, number + 1))


def _numbered(number: int) -> Trades:
    """A message that is joined to no other."""
    return Trades("A", "replay", "src", f"c-{number}", M + number, [Trade(M + number, 1, 1, None)])


def _numbers(settings: Settings) -> list[int]:
    return [trade.t - M for trade in trades_of(stocks(settings), "A")]


def _kept(path: Path) -> list[int]:
    file = SpillFile(path)
    found: list[int] = []
    while file:
        for record in file.read():
            message = decode(record.key, record.value, "replay").message
            assert isinstance(message, Trades)
            found.append(message.received_at - M)
    file.close()
    return found
