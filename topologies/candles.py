"""Build one-minute candles and their rollups from stocks-topic, exactly-once.

stocks-topic ─> parse ─> window (stateful) ─┬─> candles-1m               final and revised candles
                                            ├─> candles-5m -15m -1h -1d  their rollups, partial too
                                            ├─> candles-live             partial candles
                                            └─> trades-rejected
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from decimal import setcontext
from typing import Any, NamedTuple, cast

from quixstreams import message_context
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.models.serializers import SerializationContext, Serializer

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    Candle,
    Message,
    Rejection,
    encode,
)
from app.exact import EXACT, rounded_count
from app.market.sessions import load_calendar
from app.message_parser import MessageRejectedError, decode
from app.rejection_log import RejectionLog
from app.rejection_records import MessageOrigin, rejection_records
from app.settings import Settings
from app.topics import CANDLES_GROUP
from topologies.core import candle as core
from topologies.core.candle import NO_OUTPUT, Outcome, Rules
from topologies.core.state_codec import CandleCodec
from topologies.runtime import worker
from topologies.runtime.batched_polling import BatchedApplication
from topologies.runtime.counters import CounterLog
from topologies.runtime.incarnations import StateIncarnations
from topologies.runtime.instance import Instance
from topologies.runtime.pipelined_commits import PipelinedContext
from topologies.runtime.producer import IncarnationProducer
from topologies.runtime.symbol_cache import CheckpointSink, StateStores, SymbolCache

logger = logging.getLogger(__name__)


class ParsedValue(NamedTuple):
    """The value of a message and its parsed form (None if the whole message was rejected)."""

    value: bytes | None
    message: Message | None
    rejections: list[Rejection]
    indices: tuple[int, ...] | None


class CandleSerializer(Serializer):
    """Serializes candles as JSON."""

    def __call__(self, value: Candle, ctx: SerializationContext) -> bytes:
        return encode(value)


class Steps:
    """The steps of the topology."""

    def __init__(self, settings: Settings, incarnation: str, stocks: StreamingDataFrame) -> None:
        self._feed = settings.tickhouse_feed
        self._incarnation = incarnation
        self._context = cast(PipelinedContext, stocks.processing_context)
        self._producer = cast(IncarnationProducer, self._context.producer)
        self._rejected_topic = settings.named(REJECTED_TOPIC)
        self._stores = StateStores(stocks)
        self._open = self._stores.open
        self.counters: Counter[str] = Counter()
        self.rejections = RejectionLog()
        rules = Rules(
            settings.tickhouse_feed,
            settings.candle_price_rule,
            settings.candle_grace_ms,
            settings.candle_allowed_lateness_ms,
            settings.candle_live,
        )
        codec = CandleCodec(rules, self.counters)
        self.symbols = SymbolCache(codec, incarnation, lambda: self._context.committing)

    def parse(self, value: bytes | None, key: Any, timestamp: int, headers: Any) -> ParsedValue:
        """Parse a message, and collect rejections of its invalid parts."""
        try:
            message, rejections, indices = decode(key, value, self._feed)
        except MessageRejectedError as error:
            return ParsedValue(value, None, [error.rejection], None)
        return ParsedValue(value, message, rejections, indices)

    def window(
        self, parsed: ParsedValue, key: Any, timestamp: int, headers: Any
    ) -> Sequence[Candle]:
        """Apply a message: return the candles it changed, and produce its rejections."""
        outcome = None
        rejections = parsed.rejections
        if parsed.message is not None:
            outcome = self._apply(parsed.message, parsed.indices, key)
            if outcome.rejections:
                rejections = [*rejections, *outcome.rejections]
        if rejections:
            self._reject(rejections, parsed.value, key)
        if outcome is None or outcome is NO_OUTPUT:
            return ()
        return [*outcome.records, *outcome.rollups, *outcome.partials]

    def _apply(self, message: Message, indices: tuple[int, ...] | None, key: bytes) -> Outcome:
        context = message_context()
        partition, offset = context.partition, context.offset
        checkpoint = self._context.checkpoint
        cached = self.symbols.of(message.symbol, key, partition, checkpoint, self._open)
        cached.offset = offset
        return cached.value.apply(message, offset, indices)

    def _reject(self, rejections: list[Rejection], value: bytes | None, key: bytes | None) -> None:
        """Produce rejections in the same transaction, to the partition number of their message."""
        context = message_context()
        origin = MessageOrigin(self._incarnation, context.topic, context.partition, context.offset)
        for record in rejection_records(value, rejections, self._feed, origin):
            self.counters[f"rejected_{record.reason}"] += 1
            self.rejections.add([record])
            self._producer.send(self._rejected_topic, encode(record), key, context.partition)

    def release(self, partitions: Collection[int]) -> None:
        """Evict the state of `partitions`, which are no longer assigned to this worker."""
        self.symbols.evict(partitions)
        self._stores.release(partitions)


def kind_of(candle: Candle) -> str:
    """Return the output topic's key for a candle: its interval, or `live` for a partial minute."""
    live = candle.revision is None and candle.interval == "1m"
    return "live" if live else candle.interval


def build(app: BatchedApplication, settings: Settings, incarnations: StateIncarnations) -> None:
    """Wire the topology on `app`.

    :param incarnations: the incarnations of the topics that the state belongs to, checked before
        each commit.
    """
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
    steps = Steps(settings, incarnations.input_id(), trades)
    parsed = trades.apply(steps.parse, metadata=True)
    candles = parsed.apply(steps.window, metadata=True, expand=True)
    candles.to_topic(lambda candle, *_: outputs[kind_of(candle)])
    app.after_revoke = lambda revoked: steps.release(
        {p for topic, p in revoked if topic == stocks.name}
    )
    counter_log = CounterLog(steps.counters)

    def check() -> Callable[[], None]:
        steps.counters["rounded_number"] = rounded_count()
        now_s = time.monotonic()
        counter_log.log_if_due(now_s)
        steps.rejections.log_if_due(int(now_s * 1000))
        return incarnations.check()

    # registered directly: `candles.sink(...)` would call the sink for each candle
    context = trades.processing_context
    context.sink_manager.register(CheckpointSink(steps.symbols, lambda: context.checkpoint, check))


def prepare(settings: Settings, instance: Instance) -> BatchedApplication:
    """Build the worker's application."""
    if settings.tickhouse_feed != "simulated":  # a simulated market never closes
        load_calendar()
    app = worker.prepare(settings, instance, CANDLES_GROUP, STOCKS_TOPIC, build)
    logger.info("candle core: %s", "plain" if core.__file__.endswith(".py") else "compiled")
    setcontext(EXACT)  # the core's context, set once so that it need not be set for each message
    return app


def run(settings: Settings) -> None:
    """Run a worker until SIGINT or SIGTERM; restart it from the last commit when Kafka fails."""
    worker.run(settings, CANDLES_GROUP, prepare)
