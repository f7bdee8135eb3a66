"""Observe the pipeline: ends of topics, lags of consumer groups, the lake's newest object, gold.

All reads are small and change nothing: the ends of the topics, a listing of each partition's newest
objects, and the progress file of the warehouse.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import NoCredentialsError
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    decode_candle,
)
from app.health.newest_object import newest_object_ms
from app.health.rates import Counts, rates
from app.health.stages import Observation, TopicTail
from app.kafka_reads import read_to_end
from app.lake import s3_client
from app.lake_errors import S3_ERRORS, explain
from app.market.sessions import Session, session_of
from app.settings import Settings
from app.topics import ARCHIVE_GROUP, CANDLES_GROUP, TOPICS, unreachable
from app.warehouse.progress import read_progress

TIMEOUT_S = 5.0
TAIL_RECORDS = {STOCKS_TOPIC: 400, CANDLES_TOPIC: 100, LIVE_TOPIC: 50}
MINIMUM_TAIL = 3
"""Records read at the end of each partition of other topics. A transaction marker counts as one."""
ELECTION_RETRIES_S = (0.5, 1.0, 2.0)
_ELECTION = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
)
_INPUTS = {
    CANDLES_GROUP: (STOCKS_TOPIC,),
    ARCHIVE_GROUP: (STOCKS_TOPIC, CANDLES_TOPIC, *ROLLUP_TOPICS.values(), REJECTED_TOPIC),
}


class Observer:
    """Observes the pipeline of `settings`, keeping its connections between observations."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._kafka = _Kafka(settings)
        self._counts: Counts | None = None
        self._lake = s3_client(settings)

    def observe(self, now: int) -> Observation:
        """Observe every stage; report a server that does not answer in a sentence.

        If servers do not answer, this takes up to a few multiples of `TIMEOUT_S`.

        :param now: UNIX ms.
        """
        settings = self.settings
        found: dict[str, Any] = {}
        ends: dict[TopicPartition, int] = {}
        try:
            found["topics"], found["lag"], ends, messages = self._kafka_state()
            counts = Counts(now, messages)
            found["rates"] = rates(self._counts, counts)
            self._counts = counts
        except KafkaException as error:
            found["kafka_error"] = str(unreachable(settings, error))
        try:
            found["newest_object_ms"] = newest_object_ms(settings, self._lake, ends)
        except NoCredentialsError:
            found["lake_configured"] = False
        except S3_ERRORS as error:
            found["lake_error"] = explain(settings, error)
        return Observation(
            now=now,
            feed=settings.tickhouse_feed,
            any_market_open=_any_market_open(settings, now),
            **found,
            **_warehouse(settings),
        )

    def _kafka_state(self) -> _KafkaState:
        """Read the ends of the topics; retry while leaders of new topics are being elected."""
        for delay_s in (*ELECTION_RETRIES_S, None):
            try:
                tails, ends = self._kafka.topics()
                lag, processed = self._kafka.groups(ends)
                sent = {
                    "feed": self._sent(ends, STOCKS_TOPIC),
                    LIVE_TOPIC: self._sent(ends, LIVE_TOPIC),
                }
                return _KafkaState(tails, lag, ends, sent | processed)
            except KafkaException as error:
                if delay_s is None or error.args[0].code() not in _ELECTION:
                    raise
                time.sleep(delay_s)
        raise AssertionError("the last try returns or raises")

    def _sent(self, ends: dict[TopicPartition, int], topic: str) -> int:
        name = self.settings.named(topic)
        return sum(end for partition, end in ends.items() if partition.topic == name)


def _any_market_open(settings: Settings, now: int) -> bool:
    return any(
        session_of(symbol, settings.tickhouse_feed, now).session is not Session.CLOSED
        for symbol in settings.stocks_symbols
    )


def _warehouse(settings: Settings) -> dict[str, Any]:
    progress = read_progress(settings)
    load, build, failed = progress.load, progress.build, progress.failed_build
    audit = progress.audit
    return {
        "load_id": load and load.load_id,
        "loaded_ms": load and load.ended_ms,
        "rejected_objects": load.rejected_objects if load else 0,
        "built_load_id": build and build.load_id,
        "built_ms": build and build.ended_ms,
        "build_failure": failed and failed.failure,
        "silver_outdated": build is not None and build.outdated,
        "audited_ms": audit and audit.ended_ms,
        "audited_candles": audit.compared if audit else 0,
        "audit_failure": audit and audit.failure,
    }


class _KafkaState(NamedTuple):
    """The ends of the topics, lags, end offsets, and the number of messages by stage.

    `messages` counts what the feed has sent and each consumer group has processed. Its key
    `candles-live` holds the number of partial candles sent.
    """

    topics: dict[str, TopicTail]
    lag: dict[str, int | None]
    ends: dict[TopicPartition, int]
    messages: dict[str, int]


class _Kafka:
    """Reads the ends of topics and the offsets of groups.

    Every method raises `KafkaException` if Kafka does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})

    def topics(self) -> tuple[dict[str, TopicTail], dict[TopicPartition, int]]:
        """Return the tail of each existing topic, and the end offset of each partition."""
        there = self._admin.list_topics(timeout=TIMEOUT_S).topics
        topics = {
            name: topic
            for topic in TOPICS
            if (name := self._settings.named(topic)) in there and there[name].error is None
        }
        partitions = [
            TopicPartition(name, number) for name in topics for number in there[name].partitions
        ]
        firsts, ends = (
            self._offsets(partitions, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        starts = []
        for partition in partitions:
            tail = TAIL_RECORDS.get(topics[partition.topic], MINIMUM_TAIL)
            start = max(firsts[partition], ends[partition] - tail)
            starts.append(TopicPartition(partition.topic, partition.partition, start))
        messages: dict[str, list[Message]] = {name: [] for name in topics}
        for message in self._read(starts):
            messages[message.topic()].append(message)
        tails = {}
        for name, topic in topics.items():
            own = [partition for partition in partitions if partition.topic == name]
            records = sum(ends[partition] - firsts[partition] for partition in own)
            tails[topic] = summarize(topic, records, messages[name])
        return tails, ends

    def _offsets(
        self, partitions: list[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        asked = self._admin.list_offsets(
            dict.fromkeys(partitions, spec),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=TIMEOUT_S,
        )
        return {partition: answer.result().offset for partition, answer in asked.items()}

    def _read(self, starts: list[TopicPartition]) -> Iterator[Message]:
        """Read from `starts` to the end of each partition."""
        consumer = self._consumer(
            "status",
            {
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
            },
        )
        try:
            yield from read_to_end(consumer, starts, TIMEOUT_S)
        finally:
            consumer.close()

    def _consumer(self, group: str, more: dict[str, Any]) -> Consumer:
        """Create a consumer that commits nothing; the caller closes it."""
        own = {
            "group.id": self._settings.named(group),
            "enable.auto.commit": False,
            "log_level": 0,
        }
        return Consumer(self._settings.kafka_client() | own | more)

    def groups(
        self, ends: dict[TopicPartition, int]
    ) -> tuple[dict[str, int | None], dict[str, int]]:
        """Return each group's lag in messages, and how many messages it has committed.

        A group without a commit has the lag None and no count. Transaction markers count as
        messages, so candle topics always have a small lag.
        """
        lag: dict[str, int | None] = {}
        processed: dict[str, int] = {}
        for group, topics in _INPUTS.items():
            names = {self._settings.named(topic) for topic in topics}
            inputs = [partition for partition in ends if partition.topic in names]
            committed = self._committed(group, inputs)
            lags = [max(0, ends[partition] - committed.get(partition, 0)) for partition in inputs]
            lag[group] = sum(lags) if committed else None
            if committed:
                processed[group] = sum(committed.values())
        return lag, processed

    def _committed(self, group: str, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the committed offset of `group` for each partition that has one.

        This uses a consumer, because librdkafka's AdminClient crashes if the broker answers that
        the group has no coordinator yet (docs/quix.md).
        """
        if not partitions:
            return {}
        # with read_committed it would wait for the end of an open transaction
        consumer = self._consumer(group, {"isolation.level": "read_uncommitted"})
        try:
            answers = consumer.committed(partitions, timeout=TIMEOUT_S)
        finally:
            consumer.close()
        return {
            TopicPartition(answer.topic, answer.partition): answer.offset
            for answer in answers
            if answer.offset >= 0
        }


class _MessageHead(msgspec.Struct):
    """The fields that every message of stocks-topic has."""

    type: str
    received_at: int
    t: int = 0
    """The watermark, in a watermark message."""


def summarize(topic: str, records: int, messages: Iterable[Message]) -> TopicTail:
    """Summarize the tail of `topic`. Records that violate its contract only count as records."""
    newest_ms = newest_trade_ms = newest_final_end_ms = watermark_ms = None
    for message in messages:
        newest_ms = max(newest_ms or 0, message.timestamp()[1])
        value = message.value() or b""
        try:
            if topic == STOCKS_TOPIC:
                head = msgspec.json.decode(value, type=_MessageHead)
                if head.type == "trades":
                    newest_trade_ms = max(newest_trade_ms or 0, head.received_at)
                elif head.type == "watermark":
                    watermark_ms = max(watermark_ms or 0, head.t)
            elif topic == CANDLES_TOPIC:
                newest_final_end_ms = max(newest_final_end_ms or 0, decode_candle(value).window_end)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return TopicTail(records, newest_ms, newest_trade_ms, newest_final_end_ms, watermark_ms)
