"""Messages that a real Kafka rejects for good: recorded, not covered, and nothing else is lost."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from app.contracts import (
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    Message,
    Trade,
    Trades,
    Watermark,
)
from app.embedded.kafka import KafkaServer
from app.feeds.clock import SteadyClock
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE
from app.feeds.live.coverage import load_checkpoint
from app.feeds.messages.outgoing import LostSpan
from app.feeds.outbox.outbox import SPILL_FILE
from app.feeds.outbox.publisher import Publisher, PublishError
from app.feeds.outbox.spill_file import SpillFile
from app.message_parser import decode
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.producing import producing
from tests.integration.feeds.topic_reader import rejected, stocks, trades_of
from tests.support import await_, end_offsets

M = 1_731_600_060_000
SMALL_BYTES = 10_000
MakeSettings = Callable[..., Settings]


def _configure(settings: Settings, topic: str, **entries: object) -> None:
    """Set what the topic takes; it does so on return."""
    wanted = {name.replace("_", "."): str(value) for name, value in entries.items()}
    resource = ConfigResource(
        ResourceType.TOPIC,
        settings.named(topic),
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in wanted.items()
        ],
    )
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()

    def is_so() -> bool:
        asked = ConfigResource(ResourceType.TOPIC, settings.named(topic))
        (found,) = (done.result() for done in admin.describe_configs([asked]).values())
        return all(found[name].value == value for name, value in wanted.items())

    await_(is_so, what=f"{topic} to be configured")


@pytest.fixture
def small(make_settings: MakeSettings) -> Settings:
    """Settings of a namespace whose stocks-topic takes batches of 10,000 bytes."""
    settings = make_settings()
    ensure_topics(settings)
    _configure(settings, STOCKS_TOPIC, max_message_bytes=SMALL_BYTES)
    return settings


def _trades(number: int, size: int = 0, symbol: str = "A") -> Trades:
    """A message that is joined to no other."""
    trade = Trade(M + number, 1, 1, [_noise(size, number)])
    return Trades(symbol, "replay", "src", f"c-{number}", M + number + 5, [trade])


def _noise(size: int, seed: int = 1) -> str:
    """A text that no compression makes small."""
    return base64.b64encode(Random(seed).randbytes(size)).decode()[:size]


def _numbers(settings: Settings, symbol: str = "A") -> list[int]:
    return [trade.t - M for trade in trades_of(stocks(settings), symbol)]


def test_what_kafka_rejects_is_recorded_and_the_rest_arrives(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(small)
    large = _trades(3, 40_000)
    publisher.send([*map(_trades, range(3)), large, *map(_trades, range(4, 8))])
    assert publisher.flush(30) == 0
    assert publisher.delivered_up_to == -1, "a loss is to be taken first"
    assert publisher.take_lost() == [LostSpan("A", M + 3, M + 8)]
    assert publisher.delivered_up_to == publisher.last()
    assert _numbers(small) == [0, 1, 2, 4, 5, 6, 7]
    (record,) = rejected(small, 1)
    assert (record.stage, record.reason) == ("feed", "rejected_by_kafka")
    payload = base64.b64decode(record.payload or "")
    assert decode(b"A", payload, "replay").message == large
    assert record.size == len(payload)
    assert "Message size too large" in record.detail
    assert publisher.failed == 1
    assert caplog.text.count("rejects message 1 for good") == 1


def test_of_a_batch_that_is_rejected_every_message_that_can_be_taken_is(small: Settings) -> None:
    publisher = Publisher(small, ready=False)
    large = {50, 51, 399}
    publisher.offer(_trades(n, 30_000 if n in large else 200) for n in range(400))
    publisher.topics_ready()
    while publisher.flush(1):
        pass
    found = Counter(_numbers(small))
    assert sorted(found) == [n for n in range(400) if n not in large]
    assert set(found.values()) == {1}
    assert {lost.from_ms for lost in publisher.take_lost()} == {M + n for n in large}
    assert publisher.failed == len(rejected(small, 3)) == len(large)


def test_of_a_message_that_is_too_large_every_trade_that_can_be_taken_is(small: Settings) -> None:
    message = _trades(0)
    sizes = [1_000, 1_000, 20_000, *[1_000] * 17]
    message.trades = [Trade(M + n, 1, 1, [_noise(size, n)]) for n, size in enumerate(sizes)]
    publisher = Publisher(small)
    publisher.send([message])
    while publisher.flush(1):
        pass
    assert sorted(_numbers(small)) == [n for n in range(20) if n != 2]
    assert publisher.take_lost() == [LostSpan("A", M + 2, M + 5)]
    assert len(rejected(small, 1)) == publisher.failed == 1


def test_a_record_that_is_rejected_with_its_payload_goes_without(small: Settings) -> None:
    _configure(small, REJECTED_TOPIC, max_message_bytes=SMALL_BYTES)
    publisher = Publisher(small)
    publisher.send([_trades(1, 40_000), _trades(2)])
    while publisher.flush(1):
        pass
    (record,) = rejected(small, 1)
    assert (record.payload, record.reason) == (None, "rejected_by_kafka")
    assert record.size > 40_000
    assert publisher.failed == 1


def test_a_record_that_is_rejected_itself_is_logged_and_makes_no_other(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    _configure(small, REJECTED_TOPIC, cleanup_policy="compact")  # takes nothing without a key
    publisher = Publisher(small)
    publisher.send([_trades(1, 40_000), _trades(2)])
    while publisher.flush(1):
        pass
    assert publisher.failed == 2
    assert sum(end_offsets(small, REJECTED_TOPIC).values()) == 0
    assert f"for {small.named(REJECTED_TOPIC)}" in caplog.text
    assert _numbers(small) == [2]
    publisher.send([_trades(3)])
    assert publisher.flush(10) == 0
    assert _numbers(small) == [2, 3]


def test_what_kafka_rejects_is_not_covered_and_ends_the_producer_with_a_sentence(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with FinnhubServer() as server:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols="A,B",
            finnhub_silence_s=3_600,
            **server.settings(),
        )
        ensure_topics(settings)
        _configure(settings, STOCKS_TOPIC, max_message_bytes=1_000)
        found: list[tuple[int, list[Message]]] = []
        with pytest.raises(PublishError, match="1 messages did not reach"):
            _lose_one(settings, server, found)
    ((lost_ms, messages),) = found
    minute = lost_ms - lost_ms % 60_000
    covered = _final(messages, "A", minute)
    assert covered is not None
    assert 0 < covered < 60_000
    assert _final(messages, "B", minute) == 60_000
    assert [t.t for t in trades_of(messages, "A")] == [lost_ms + 1]
    (record,) = rejected(settings, 1)
    assert (record.reason, record.size > 990) == ("rejected_by_kafka", True)
    assert "rejects message 1 for good" in caplog.text
    checkpoint = load_checkpoint(settings.home / CHECKPOINT_FILE)
    assert checkpoint is not None
    assert checkpoint.at_ms > minute + 60_000


def _lose_one(
    settings: Settings, server: FinnhubServer, found: list[tuple[int, list[Message]]]
) -> None:
    """Run a producer for some minutes, one of which has a trade that Kafka does not take.

    Finds when that was, and what was sent until the minute had been emitted and corrected.
    """
    clock = SteadyClock(speed=20)

    def wait_until(emitted: Callable[[list[Message]], bool]) -> None:
        def reported_by(read: list[Message]) -> bool:
            server.send('{"type":"ping"}')
            return emitted(read)

        stocks(settings, until=reported_by)

    with producing(settings, clock):
        server.wait_for("subscribe", 2)
        wait_until(lambda read: _reports(read, "A", 60_000))
        now_ms = clock.now_ms()
        minute = now_ms - now_ms % 60_000
        large = {"c": [_noise(990)], "p": 1, "s": "A", "t": now_ms, "v": 1}
        server.send(json.dumps({"data": [large], "type": "trade"}))
        server.send_trades(("A", now_ms + 1, 2), ("B", now_ms + 1, 2))
        for symbol in ("A", "B"):
            wait_until(lambda read, s=symbol: _final(read, s, minute + 60_000) is not None)  # type: ignore[misc]
        found.append((now_ms, stocks(settings)))


def _reports(read: list[Message], symbol: str, covered_ms: int) -> bool:
    return any(
        isinstance(m, Watermark) and m.symbol == symbol and m.covered_ms == covered_ms for m in read
    )


def _final(read: list[Message], symbol: str, minute: int) -> int | None:
    """What was last sent of a minute's coverage, once its end and the grace have come."""
    values = [
        m.covered_ms
        for m in read
        if isinstance(m, Watermark)
        and (m.symbol, m.minute_start) == (symbol, minute)
        and m.received_at >= minute + 65_000
    ]
    return values[-1] if values else None


class GuardedKafka(KafkaServer):
    """Takes orders of who has a right to them."""

    def prepare(self) -> list[str | Path]:
        command = super().prepare()
        with (self.folder / "server.properties").open("a") as file:
            file.write(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                "allow.everyone.if.no.acl.found=true\n"
            )
        return command


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedKafka]:
    with GuardedKafka(tmp_path / "kafka") as server:
        yield server


def test_a_producer_that_may_not_write_stops_with_a_sentence_and_keeps_all_of_it(
    guarded: GuardedKafka, make_settings: MakeSettings
) -> None:
    with FinnhubServer() as server:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols="A",
            kafka_brokers=guarded.brokers,
            **server.settings(),
        )
        ensure_topics(settings)
        _forbid_writing(settings)
        with pytest.raises(
            PublishError, match=r"does not let this producer write.*Give its user the right"
        ):
            _try_to_write(settings, server)
    kept = SpillFile(settings.home / SPILL_FILE).read()
    assert sum(record.value.count(b'"t":') for record in kept if b"trades" in record.value) == 1


def _try_to_write(settings: Settings, server: FinnhubServer) -> None:
    with producing(settings):
        server.wait_for("subscribe")
        server.send_trades(("A", SteadyClock().now_ms(), 1))
        server.wait_for("close")  # nobody emitted the producer to stop


def _forbid_writing(settings: Settings) -> None:
    name = settings.named(STOCKS_TOPIC)
    rules = [
        AclBinding(
            ResourceType.TOPIC,
            name,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            operation,
            permission,
        )
        for operation, permission in (
            (AclOperation.ALL, AclPermissionType.ALLOW),
            (AclOperation.WRITE, AclPermissionType.DENY),
        )
    ]
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    for done in admin.create_acls(rules).values():
        done.result()
    known = AclBindingFilter(
        ResourceType.TOPIC,
        name,
        ResourcePatternType.LITERAL,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    await_(lambda: len(admin.describe_acls(known).result()) == len(rules), what="the rules")
