"""The way into Kafka: what its client is emitted, and how much waits in memory while it is away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

import pytest
from confluent_kafka import KafkaError
from pydantic import SecretStr

from app.contracts import Trade, Trades, decode_rejection, encode
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import LostSpan
from app.feeds.outbox.publisher import Publisher, PublishError, producer_settings
from app.feeds.outbox.spill_file import SpillFile
from app.feeds.outbox.spill_format import HEAD_BYTES, KafkaRecord
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.protocol import trade_frames
from app.settings import Settings

NOW = 1_780_000_020_000


def test_kafka_is_reported_to_take_each_message_once_and_in_order() -> None:
    emitted = producer_settings(Settings(_env_file=None))
    assert emitted["enable.idempotence"] is True
    assert emitted["acks"] == "all"
    assert emitted["compression.type"] in ("lz4", "zstd")
    assert emitted["message.timeout.ms"] == 0, "messages never time out"
    assert emitted["partitioner"] == "murmur2"


def test_a_secured_kafka_is_reported_who_asks() -> None:
    emitted = producer_settings(
        Settings(
            _env_file=None,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="me",
            kafka_sasl_password=SecretStr("word"),
            kafka_ssl_ca_location=Path("/ca.pem"),
        )
    )
    assert emitted["security.protocol"] == "sasl_ssl"
    assert emitted["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (emitted["sasl.username"], emitted["sasl.password"]) == ("me", "word")
    assert emitted["ssl.ca.location"] == "/ca.pem"


def test_memory_holds_ten_minutes_of_1000_trades_a_second_while_kafka_is_away(
    tmp_path: Path,
) -> None:
    seconds, mib = 30, 6
    assert Settings(_env_file=None).kafka_buffer_mib >= mib * 600 / seconds
    settings = Settings(_env_file=None, kafka_brokers="127.0.0.1:1", kafka_buffer_mib=mib)
    publisher = Publisher(settings, tmp_path / "spill.bin", ready=False)
    symbols = [a + b for a in "AB" for b in ascii_uppercase[:25]]
    clock, exchange, rng = ManualClock(NOW), Exchange(1, 1_500, NOW), Random(1)
    session = FeedSession(
        SessionConfig(
            feed="simulated", source="machine-123456", grace_ms=5_000, allowed_lateness_ms=900_000
        ),
        parse_frame=parse_frame,
        symbols=symbols,
        clock=clock,
    )
    session.connected("machine-123456-19e0f0e6920-1-1")
    for step in range(1, 20 * seconds + 1):
        clock.move_forward(50)
        for raw in trade_frames(exchange.step(NOW + 50 * step, symbols), rng):
            publisher.offer(session.frame(raw))
        if step % 20 == 0:
            publisher.offer(session.each_second())
        publisher.send_pending()
    assert session.counts["trades"] >= 1_000 * seconds
    assert (tmp_path / "spill.bin").stat().st_size == HEAD_BYTES, "nothing had to leave memory"


class _Client:
    """Kafka's client as far as the publisher uses it: it reports what the test specifies."""

    def __init__(self, _: dict[str, Any]) -> None:
        self.taken: list[tuple[str, bytes, Callable[..., None]]] = []
        self.due: list[tuple[int, KafkaError | None]] = []

    def __len__(self) -> int:
        return len(self.taken)

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Any) -> None:
        self.taken.append((topic, value, on_delivery))

    def report(self, place: int, error: int | None = None) -> None:
        """Report the outcome of the message with index `place` in `taken` at the next poll."""
        self.due.append((place, None if error is None else KafkaError(error)))

    def poll(self, _: float = 0) -> None:
        due, self.due = self.due, []
        for place, error in due:
            self.taken[place][2](error, None)

    def purge(self) -> None:
        """Reports nothing, as a client that is too slow."""

    def list_topics(self, topic: str, timeout: float) -> Any:
        raise AssertionError("nobody is to ask")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> list[_Client]:
    """The client of the publisher that is made next."""
    made: list[_Client] = []

    def make(settings: dict[str, Any]) -> _Client:
        made.append(_Client(settings))
        return made[0]

    monkeypatch.setattr("app.feeds.outbox.publisher.Producer", make)
    monkeypatch.setattr("app.feeds.outbox.publisher._PURGE_S", 0.1)
    return made


def _publisher(spill: Path | None = None) -> Publisher:
    return Publisher(Settings(_env_file=None, tickhouse_feed="live"), spill)


def _trades(number: int, symbol: str = "A") -> Trades:
    trade = Trade(NOW + number, 1, 1, None)
    return Trades(symbol, "live", "src", f"c-{number}", NOW + number + 5, [trade])


def test_nothing_is_settled_behind_a_message_that_has_not_arrived(client: list[_Client]) -> None:
    publisher = _publisher()
    publisher.send(map(_trades, range(4)))
    assert publisher.delivered_up_to == 0
    for place, delivered_up_to in ((1, 0), (3, 0), (0, 2), (2, 4)):
        client[0].report(place)
        publisher.serve()
        assert publisher.delivered_up_to == delivered_up_to
    assert publisher.last() == 4


def test_a_number_is_of_what_was_offered_before_it_was_asked_for(client: list[_Client]) -> None:
    publisher = _publisher()
    publisher.offer([_trades(0), _trades(0, "B")])  # both may still be joined
    assert publisher.last() == 2
    assert publisher.delivered_up_to == 0
    publisher.offer([_trades(0)])
    assert publisher.last() == 3


def test_what_an_earlier_run_left_is_before_all_of_it(
    client: list[_Client], tmp_path: Path
) -> None:
    _fill(tmp_path / "spill", 3)
    publisher = _publisher(tmp_path / "spill")
    publisher.offer([_trades(7)])
    publisher.send_pending()
    assert publisher.delivered_up_to == -3
    for place in range(3):
        client[0].report(place)
    publisher.serve()
    assert (publisher.delivered_up_to, publisher.last()) == (0, 1)
    client[0].report(3)
    publisher.serve()
    assert publisher.delivered_up_to == 1


def test_nothing_is_settled_while_a_loss_is_not_taken(client: list[_Client]) -> None:
    publisher = _publisher()
    publisher.send([_trades(0)])
    client[0].report(0, KafkaError.POLICY_VIOLATION)
    publisher.serve()
    assert publisher.delivered_up_to == -1
    assert publisher.take_lost() == [LostSpan("A", NOW, NOW + 5)]
    assert publisher.delivered_up_to == 1, "the record of it is the second message"
    assert publisher.last() == 2
    topic, value, _ = client[0].taken[1]
    assert topic == "trades-rejected"
    assert decode_rejection(value).reason == "rejected_by_kafka"


def test_what_was_rejected_along_with_others_goes_again_before_what_waits(
    client: list[_Client],
) -> None:
    publisher = _publisher()
    publisher.send(map(_trades, range(3)))
    for place in (2, 0, 1):
        client[0].report(place, KafkaError._INVALID_DIFFERENT_RECORD)
    publisher.serve()
    publisher.offer(map(_trades, range(3, 5)))
    for place in range(3, 8):
        publisher.send_pending()
        client[0].report(place)
        publisher.serve()
    assert [value for _, value, _ in client[0].taken[3:]] == [encode(_trades(n)) for n in range(5)]
    assert (publisher.delivered_up_to, publisher.failed) == (5, 0)


def test_what_kafka_never_reported_of_is_kept(client: list[_Client], tmp_path: Path) -> None:
    publisher = _publisher(tmp_path / "spill")
    publisher.send(map(_trades, range(5)))
    for place, error in ((0, None), (3, KafkaError._PURGE_QUEUE), (2, KafkaError._PURGE_INFLIGHT)):
        client[0].report(place, error)
    publisher.offer([_trades(5)])
    assert publisher.spill_all() == 5
    kept = SpillFile(tmp_path / "spill").read()
    assert [record.value for record in kept] == [encode(_trades(n)) for n in range(1, 6)]


def test_what_is_rejected_at_the_very_end_is_kept_for_the_next_start(
    client: list[_Client], tmp_path: Path
) -> None:
    publisher = _publisher(tmp_path / "spill")
    publisher.send([_trades(1)])
    client[0].report(0, KafkaError.MSG_SIZE_TOO_LARGE)
    assert publisher.spill_all() == 1
    assert publisher.take_lost() == []


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN])
def test_what_is_no_fault_of_a_message_stops_the_publisher_which_keeps_it(
    client: list[_Client], tmp_path: Path, code: int
) -> None:
    publisher = _publisher(tmp_path / "spill")
    publisher.send([_trades(1)])
    client[0].report(0, code)
    with pytest.raises(PublishError, match=r"Kafka at .* this producer"):
        publisher.serve()
    assert publisher.spill_all() == 1
    assert publisher.failed == 0


def test_what_cannot_be_read_of_the_file_is_lost(client: list[_Client], tmp_path: Path) -> None:
    path = tmp_path / "spill"
    positions = _fill(path, 3)
    content = bytearray(path.read_bytes())
    content[positions[1] + 40] ^= 1
    path.write_bytes(bytes(content))
    publisher = _publisher(path)
    assert publisher.take_lost() == [LostSpan(None, NOW + 5, NOW + 7)]


def _fill(path: Path, count: int) -> list[int]:
    """Write a file of `count` messages; return the position of each."""
    file = SpillFile(path)
    positions = []
    for number in range(count):
        positions.append(path.stat().st_size)
        file.append([KafkaRecord("stocks-topic", b"A", encode(_trades(number)))])
    file.close()
    return positions
