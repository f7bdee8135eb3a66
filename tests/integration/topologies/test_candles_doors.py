"""Malformed input is rejected with its reason, and the other trades become candles."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal

import pytest
from confluent_kafka import Producer

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    Trade,
    Trades,
    Watermark,
    encode,
)
from app.topics import ensure_topics, topic_ids
from tests.integration.topologies.workload import messages
from tests.support import (
    HANG_S,
    await_,
    await_consumed,
    end_offsets,
    read_topic,
    running,
    send,
    send_messages,
    start,
    stop,
    values,
)

BASE = 1_700_000_040_000


def good(t: int, symbol: str = "AAPL") -> Trades:
    return Trades(symbol, "replay", "r", "c", t, [Trade(t, Decimal(10), Decimal(1), None)])


def test_poison_is_rejected_with_its_reason_and_nothing_else_is_lost(make_settings, tmp_path):
    settings = make_settings(kafka_partitions=2)
    ensure_topics(settings)
    huge = b'{"type":"' + b"x" * 5_000_000 + b'"}'
    mixed = json.loads(encode(good(BASE + 2)))
    mixed["trades"] = [mixed["trades"][0], {"t": 1}, {**mixed["trades"][0], "p": -1}, "x"]
    mixed["trades"].append({**mixed["trades"][0], "t": BASE + 3_600_000})
    poison = [
        (b"AAPL", b"{", "schema"),
        (b"AAPL", b"\xff\xfe\x00", "schema"),
        (b"AAPL", None, "schema"),
        (b"\xff\xfe", encode(good(BASE)), "key"),
        (None, encode(good(BASE)), "key"),
        (b"MSFT", encode(good(BASE)), "key"),
        (b"AAPL", encode(good(BASE)).replace(b"replay", b"live"), "feed"),
        (b"AAPL", encode(good(BASE)).replace(b'"p":10', b'"p":NaN'), "schema"),
        (b"AAPL", huge, "schema"),
        (b"O'NEIL", encode(good(BASE, "O'NEIL")), "schema"),
    ]
    send_messages(settings, STOCKS_TOPIC, [good(BASE)])
    send(settings, STOCKS_TOPIC, [(key, value) for key, value, _ in poison])
    send(settings, STOCKS_TOPIC, [(b"AAPL", json.dumps(mixed).encode())])
    send_messages(settings, STOCKS_TOPIC, [good(BASE + 5)])
    end = BASE + 60_000
    send_messages(settings, STOCKS_TOPIC, [Watermark("AAPL", "replay", "r", end, end)])
    with running(settings, "candles", log=tmp_path / "log") as worker:
        await_consumed(settings, STOCKS_TOPIC, "candles")
        assert worker.poll() is None

    (candle,) = values(read_topic(settings, CANDLES_TOPIC))
    assert candle["trade_count"] == 3
    records = read_topic(settings, REJECTED_TOPIC)
    rejected = values(records)
    complete = [record for record in rejected if record["indices"] is None]
    assert sorted(r["reason"] for r in complete) == sorted(reason for _, _, reason in poison)
    parts = {r["reason"]: r["indices"] for r in rejected if r["indices"] is not None}
    assert parts == {"schema": [1, 3], "range": [2], "future": [4]}
    of_mixed = [r for r in rejected if r["indices"] is not None]
    assert sum(r["payload"] is not None for r in of_mixed) == 1, "the payload is kept once"
    incarnation = topic_ids(settings, [settings.named(STOCKS_TOPIC)])[settings.named(STOCKS_TOPIC)]
    for message, record in zip(records, rejected, strict=True):
        assert message.partition() == record["partition"]
        assert record["_topic_id"] == incarnation
        assert record["detail"]
    (large,) = [r for r in complete if r["size"] > 5_000_000]
    assert len(base64.b64decode(large["payload"])) == 64 * 1024
    assert large["sha256"] == hashlib.sha256(huge).hexdigest()


def test_poison_in_a_partition_of_its_own_is_recorded_under_that_number(make_settings, tmp_path):
    settings = make_settings(kafka_partitions=3)
    ensure_topics(settings)
    producer = Producer(settings.kafka_client())
    for partition in range(3):
        producer.produce(settings.named(STOCKS_TOPIC), b"?", partition=partition)
    producer.flush(10)
    with running(settings, "candles", log=tmp_path / "log"):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    assert [m.partition() for m in read_topic(settings, REJECTED_TOPIC)] == [0, 1, 2]


def test_a_topic_with_other_partitions_than_set_stops_the_worker_with_a_sentence(
    make_settings, tmp_path
):
    settings = make_settings(kafka_partitions=2)
    ensure_topics(settings)
    other = settings.model_copy(update={"kafka_partitions": 3})
    log = tmp_path / "log"
    assert start(other, "candles", log=log).wait(HANG_S) == 1
    assert "has 2 partitions, KAFKA_PARTITIONS is 3" in log.read_text()


def test_a_broker_that_does_not_answer_is_logged_and_waited_for(
    make_settings, tmp_path, private_kafka
):
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    private_kafka.stop()
    log = tmp_path / "log"
    with running(settings, "candles", log=log) as worker:
        await_(lambda: "(KAFKA_BROKERS) does not answer" in log.read_text(), what="the sentence")
        assert worker.poll() is None
        private_kafka.start()
        await_(lambda: "reads" in log.read_text(), what="the worker to go on")


def test_a_worker_that_gets_a_stop_signal_while_it_starts_stops(make_settings, tmp_path):
    settings = make_settings()
    log = tmp_path / "log"
    worker = start(settings, "candles", log=log)
    await_(lambda: "Starting the Application" in log.read_text(), what="Quix to take the signals")
    assert stop(worker) == 0


@pytest.mark.drill
def test_a_worker_that_gets_a_stop_signal_while_its_broker_is_away_stops(
    make_settings, tmp_path, private_kafka
):
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    send(settings, STOCKS_TOPIC, messages(1, 20_000))
    with running(settings, "candles", log=tmp_path / "log") as worker:
        await_(lambda: sum(end_offsets(settings, LIVE_TOPIC).values()), what="its first commit")
        private_kafka.kill()
        assert stop(worker) == 0
