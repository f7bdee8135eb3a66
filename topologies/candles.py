"""stocks-topic → candles of one minute and their rollups, exactly-once.

stocks-topic ─> parse ─> window (stateful) ─┬─> candles-1m               final and revised candles
                                            ├─> candles-5m -15m -1h -1d  their rollups, partial too
                                            ├─> candles-live             partial candles
                                            └─> trades-rejected
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from quixstreams import State, message_context
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.exceptions import QuixException
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.models.serializers import SerializationContext, Serializer
from quixstreams.state.rocksdb import RocksDBOptions

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    Candle,
    Message,
    Refusal,
    RefusedMessage,
    decode,
    encode,
    rounded_count,
)
from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES, BrokerUnreachableError, await_topics, compact_soon
from topologies.candle import NOTHING, Outcome, Rules
from topologies.hot_state import CheckpointSink, HotSymbols
from topologies.instance import Instance, claim_instance
from topologies.life_application import TopicLives
from topologies.lives import Lives, TopicMadeAgainError
from topologies.rejections import Origin, rejected
from topologies.tally import TallyLog
from topologies.turns import TurnApplication

logger = logging.getLogger(__name__)

GROUP = "candles"
TRANSACTION_TIMEOUT_MS = 10_000
SESSION_TIMEOUT_MS = 10_000
LINGER_MS = 1
"""At 5 a partial is seen 4 ms later; at 0 a worker with partials makes a quarter fewer trades."""
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
MAX_WAITING_KB = 64 * 1024
"""Of output that the broker has yet to take; a worker with more waits."""
SMALL_STORES = RocksDBOptions(
    write_buffer_size=8 * 1024 * 1024,
    target_file_size_base=8 * 1024 * 1024,
    max_total_wal_size=16 * 1024 * 1024,
    block_cache_size=64 * 1024 * 1024,
)
"""Each partition has a store of its own. What is hot lies in memory already, so RocksDB's usual
three buffers of 64 MB a store would hold what nobody reads."""


class Taken(NamedTuple):
    """A message as it came, and what can be taken of it (None: nothing)."""

    value: bytes | None
    message: Message | None
    refusals: list[Refusal]
    places: tuple[int, ...] | None


class CandleSerializer(Serializer):
    """A candle's JSON value."""

    def __call__(self, value: Candle, ctx: SerializationContext) -> bytes:
        return encode(value)


class Steps:
    """The named steps of the topology."""

    def __init__(self, settings: Settings, life: str, stocks: StreamingDataFrame) -> None:
        self._feed = settings.tickhouse_feed
        self._life = life
        self._context = stocks.processing_context
        self._stream_id = stocks.stream_id
        stocks.register_store()
        self._rejected_topic = settings.named(REJECTED_TOPIC)
        self.tally: Counter[str] = Counter()
        rules = Rules(
            settings.tickhouse_feed,
            settings.candle_price_rule,
            settings.candle_grace_ms,
            settings.candle_horizon_ms,
            settings.candle_live,
        )
        self.symbols = HotSymbols(rules, life, self.tally)

    def parse(self, value: bytes | None, key: Any, timestamp: int, headers: Any) -> Taken:
        """bytes → a typed message and the refusals of what cannot be taken."""
        try:
            message, refusals, places = decode(key, value, self._feed)
        except RefusedMessage as error:
            return Taken(value, None, [error.refusal], None)
        return Taken(value, message, refusals, places)

    def window(self, taken: Taken, key: Any, timestamp: int, headers: Any) -> Sequence[Candle]:
        """A message → the candles it completes, revises or moves; rejections go their own way."""
        outcome = None
        refusals = taken.refusals
        if taken.message is not None:
            outcome = self._apply(taken.message, taken.places, key)
            if outcome.rejections:
                refusals = [*refusals, *(Refusal(*r) for r in outcome.rejections)]
        if refusals:
            self._reject(refusals, taken.value, key)
        if outcome is None or outcome is NOTHING:
            return ()
        return [*outcome.records, *outcome.rollups, *outcome.partials]

    def _apply(self, message: Message, places: tuple[int, ...] | None, key: bytes) -> Outcome:
        context = message_context()
        partition, offset = context.partition, context.offset
        checkpoint = self._context.checkpoint
        hot = self.symbols.of(message.symbol, key, partition, checkpoint, self._store_of)
        hot.offset = offset
        return hot.candles.apply(message, offset, places)

    def _store_of(self, partition: int, key: bytes) -> State[bytes, bytes]:
        """What a step with `stateful=True` is handed for each message: 1.5 µs of its own."""
        transaction = self._context.checkpoint.get_store_transaction(self._stream_id, partition)
        return transaction.as_state(prefix=key)

    def _reject(self, refusals: list[Refusal], value: bytes | None, key: bytes | None) -> None:
        """Send rejections in the same transaction, to the partition number of their message."""
        context = message_context()
        origin = Origin(self._life, context.topic, context.partition, context.offset)
        for record in rejected(refusals, value, origin, self._feed):
            self.tally[f"rejected_{record.reason}"] += 1
            self._context.producer.produce(
                topic=self._rejected_topic,
                key=key,
                value=encode(record),
                partition=context.partition,
            )


def kind_of(candle: Candle) -> str:
    """Which output a candle goes to: that of its interval, a minute's partial to the live one."""
    live = candle.revision is None and candle.interval == "1m"
    return "live" if live else candle.interval


def build(settings: Settings, instance: Instance, lives: Lives) -> TurnApplication:
    """The application, wired and ready to run."""
    group = settings.named(GROUP)
    me = instance.transactional_id(group)
    app = TurnApplication(
        broker_address=ConnectionConfig.from_librdkafka_dict(settings.kafka_client()),
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=settings.candle_commit_interval_s,
        state_dir=instance.folder,
        loglevel=None,
        broker_availability_timeout=0,
        lives=TopicLives(settings),
        rocksdb_options=SMALL_STORES,
        consumer_extra_config={
            "group.instance.id": me,  # killed and back, it goes on at once: no session to wait out
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 4,
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
            "log_level": 3,
        },
        producer_extra_config={
            "transactional.id": me,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "compression.type": "lz4",
            "linger.ms": LINGER_MS,
            "queue.buffering.max.kbytes": MAX_WAITING_KB,
            "log_level": 3,
        },
    )
    stocks = app.topic(
        settings.named(STOCKS_TOPIC), key_deserializer="bytes", value_deserializer="bytes"
    )
    outputs = {
        kind: app.topic(
            settings.named(topic), key_serializer="bytes", value_serializer=CandleSerializer()
        )
        for kind, topic in ({"1m": CANDLES_TOPIC, "live": LIVE_TOPIC} | ROLLUP_TOPICS).items()
    }

    trades = app.dataframe(stocks)
    steps = Steps(settings, lives.input_id(), trades)
    parsed = trades.apply(steps.parse, metadata=True)
    candles = parsed.apply(steps.window, metadata=True, expand=True)
    candles.to_topic(lambda candle, *_: outputs[kind_of(candle)])
    tally_log = TallyLog(steps.tally)

    def check() -> Callable[[], None]:
        steps.tally["rounded_number"] = rounded_count()
        tally_log.look(time.monotonic())
        return lives.check()

    candles.sink(CheckpointSink(steps.symbols, check))
    return app


def prepare(settings: Settings, instance: Instance) -> TurnApplication:
    """The application on the present life of its topics, with local state of no other."""
    lives = Lives(settings, instance.folder, settings.named(GROUP), settings.named(STOCKS_TOPIC))
    lives.discard_foreign_state()
    app = build(settings, instance, lives)
    lives.note()
    compact_soon(settings, lives.changelogs())
    logger.info("instance %d reads %s", instance.number, settings.named(STOCKS_TOPIC))
    spare_the_collector()
    return app


def run(settings: Settings) -> None:
    """Run a worker until it is told to stop; it starts over when Kafka fails it."""
    with claim_instance(settings.state_dir / GROUP, settings.tickhouse_instance) as instance:
        retry_s = RETRY_FIRST_S
        while True:
            await_topics(settings)
            app = None
            started = time.monotonic()
            try:
                app = prepare(settings, instance)
                app.run()
                logger.info("stopped; all that was read is committed")
                return
            except (
                KafkaException,
                QuixException,
                BrokerUnreachableError,
                TopicMadeAgainError,
            ) as error:
                if app and app.told_to_stop:
                    logger.warning("stopped, the next start repeats what is uncommitted: %s", error)
                    return
                if time.monotonic() - started > 60:
                    retry_s = RETRY_FIRST_S
                logger.warning(
                    "%s: %s; starting over from the last commit in %.0f s",
                    type(error).__name__,
                    error,
                    retry_s,
                )
            time.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MAX_S)


def spare_the_collector() -> None:
    """Look for cycles seldom: identities of prints hold none, and looking took 30 % of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
