"""When the producer sends records, and what it does when its queue is full."""

from __future__ import annotations

import time

import pytest
from quixstreams.models import MessageContext, Row, Topic

from app.contracts import LIVE_TOPIC
from app.topics import ensure_topics
from tests.support import await_, end_offsets, read_topic
from topologies.runtime.producer import IncarnationProducer

WAIT_MS = 60_000


@pytest.fixture
def topic(make_settings):
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    name = settings.named(LIVE_TOPIC)
    return settings, Topic(name, key_serializer="bytes", value_serializer="bytes")


def producer_of(settings, **config) -> IncarnationProducer:
    config = {"linger.ms": WAIT_MS, "log_level": 0} | config
    return IncarnationProducer(settings.kafka_brokers, extra_config=config, flush_timeout=10)


def row(value: bytes) -> Row:
    return Row(value, b"AAPL", 1_700_000_000_000, MessageContext("in", 0, 0, 1), None)


def test_records_linger_until_they_are_flushed(topic):
    settings, live = topic
    producer = producer_of(settings)
    producer.produce_row(row(b"first"), live, key=b"AAPL", timestamp=1_700_000_000_000)
    time.sleep(0.3)
    assert end_offsets(settings, LIVE_TOPIC) == {0: 0}

    def delivered() -> bool:
        producer._lingers = True
        producer.flush_soon()
        return end_offsets(settings, LIVE_TOPIC) == {0: 1}

    await_(delivered, what="the record")
    (record,) = read_topic(settings, LIVE_TOPIC)
    assert (record.key(), record.value(), record.headers()) == (b"AAPL", b"first", None)
    assert record.timestamp()[1] == 1_700_000_000_000
    producer.purge()


def test_a_producer_that_is_full_waits_for_room_and_loses_nothing(topic):
    settings, live = topic
    producer = producer_of(settings, **{"linger.ms": 0, "queue.buffering.max.messages": 10})
    for number in range(1_000):
        producer.produce_row(row(b"%d" % number), live, key=b"AAPL")
    producer.flush(10)
    found = [int(record.value()) for record in read_topic(settings, LIVE_TOPIC)]
    assert found == list(range(1_000))
