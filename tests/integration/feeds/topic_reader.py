"""Reads topics for tests: waits for what has to come, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from app.contracts import (
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    Message,
    Rejected,
    Trade,
    Trades,
    decode,
    decode_rejected,
)
from app.settings import Settings

WAIT_S = 60.0


def stocks(
    settings: Settings, until: Callable[[list[Message]], bool] | None = None
) -> list[Message]:
    """The messages of stocks-topic: up to its end, and on until `until` is true of them."""
    read: list[Message] = []

    def take(key: bytes | None, value: bytes) -> bool:
        read.append(decode(key, value, settings.tickhouse_feed).message)
        return until is not None and until(read)

    _read(settings, STOCKS_TOPIC, take, to_end=until is None)
    return read


def rejected(settings: Settings, count: int) -> list[Rejected]:
    """The first `count` records of trades-rejected."""
    read: list[Rejected] = []

    def take(_: bytes | None, value: bytes) -> bool:
        read.append(decode_rejected(value))
        return len(read) == count

    _read(settings, REJECTED_TOPIC, take, to_end=False)
    return read


def trades_of(messages: list[Message], symbol: str) -> list[Trade]:
    """The trades of `symbol`, in the topic's order."""
    return [
        trade
        for message in messages
        if isinstance(message, Trades) and message.symbol == symbol
        for trade in message.trades
    ]


def _read(
    settings: Settings, name: str, take: Callable[[bytes | None, bytes], bool], *, to_end: bool
) -> None:
    topic = settings.named(name)
    consumer = Consumer(
        settings.kafka_client()
        | {
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "topic.metadata.refresh.interval.ms": 1_000,  # of a topic just made, leaders are new
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        at_end: set[int] = set()
        deadline = time.monotonic() + WAIT_S
        while not (to_end and len(at_end) == len(partitions)):
            record = consumer.poll(1.0)
            assert time.monotonic() < deadline, f"what was waited for never came into {topic}"
            if record is None:
                continue
            if error := record.error():
                assert error.code() == KafkaError._PARTITION_EOF, error.str()
                at_end.add(record.partition())
            elif take(record.key(), record.value()):
                return
    finally:
        consumer.close()
