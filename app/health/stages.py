"""Evaluate the health of the pipeline's stages from an observation.

A stage has a problem if its input has advanced for longer than the stage's limit and its output has
not. So a failure is reported where it occurs, not in every stage after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from msgspec import Struct, structs

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, REJECTED_TOPIC, STOCKS_TOPIC

StageName = Literal["feed", "kafka", "candles", "archive", "lake", "load", "build", "audit"]
STAGE_NAMES: tuple[str, ...] = get_args(StageName)
State = Literal["ok", "waiting", "problem"]

FEED_SILENT_MS = 30_000
"""The producer publishes watermarks every second, even if markets are closed."""
TRADES_SILENT_MS = 180_000
CANDLES_BEHIND_MS = 180_000
"""Allows for the minute itself, its grace, and the watermark of the slowest symbol."""
WAREHOUSE_BEHIND_MS = 60_000
"""Added to the interval between two loads or builds."""


class TopicTail(Struct, frozen=True):
    """The end of a topic. Times are UNIX ms; None if the tail has no such record."""

    records: int
    """Number of records that the topic retains."""
    newest_ms: int | None = None
    """Kafka's timestamp of the newest record."""
    newest_trade_ms: int | None = None
    """In stocks-topic: when the newest trade arrived from the feed."""
    newest_final_end_ms: int | None = None
    """In candles-1m: the end of the newest minute with a final candle."""
    watermark_ms: int | None = None
    """In stocks-topic: the newest watermark."""


class Observation(Struct, frozen=True, kw_only=True):
    """The state of the pipeline at `now` (UNIX ms). An error is a sentence with its remedy."""

    now: int
    feed: str
    any_market_open: bool
    kafka_error: str | None = None
    topics: Mapping[str, TopicTail] = {}
    """By name without the namespace; topics that do not exist are absent."""
    lag: Mapping[str, int | None] = {}
    """Messages that a consumer group has not committed yet; None if it has committed nothing."""
    rates: Mapping[str, float] = {}
    """Messages per second since the previous observation, by stage; candles-live by its own
    name."""
    lake_configured: bool = True
    lake_error: str | None = None
    newest_object_ms: int | None = None
    load_id: int | None = None
    loaded_ms: int | None = None
    rejected_objects: int = 0
    built_load_id: int | None = None
    built_ms: int | None = None
    build_failure: str | None = None
    silver_outdated: bool = False
    audited_ms: int | None = None
    audited_candles: int = 0
    audit_failure: str | None = None
    warehouse_error: str | None = None


class Stage(Struct, frozen=True):
    """The health of one stage."""

    name: StageName
    state: State
    newest_ms: int | None
    """UNIX ms of its newest output; None if its times are those of a replay."""
    detail: str
    """What was observed, in a few words."""
    lag: int | None = None
    """Number of messages of its input that it has not processed yet."""
    problem: str | None = None
    """What is wrong, and what to do about it."""
    rate: float | None = None
    """Messages per second since the previous check: published by the feed, processed by others."""


class Limits(Struct, frozen=True):
    """How long stages may be behind their inputs, in ms."""

    archive_ms: int = 60_000
    load_ms: int = 60_000 + WAREHOUSE_BEHIND_MS
    build_ms: int = 60_000 + WAREHOUSE_BEHIND_MS


def evaluate(observed: Observation, limits: Limits) -> list[Stage]:
    """Evaluate the health of every stage, in the order in which data flows."""
    stages = [
        _feed(observed),
        _kafka(observed),
        _candles(observed),
        _archive(observed, limits),
        _lake(observed),
        _load(observed, limits),
        _build(observed, limits),
        _audit(observed),
    ]
    return [structs.replace(stage, rate=observed.rates.get(stage.name)) for stage in stages]


def problems(stages: Sequence[Stage]) -> list[str]:
    """Return the problems of `stages`, a sentence each."""
    return [stage.problem for stage in stages if stage.problem]


def _feed(observed: Observation) -> Stage:
    topic = observed.topics.get(STOCKS_TOPIC, TopicTail(0))
    trade_ms = topic.newest_trade_ms
    if observed.kafka_error:
        return Stage("feed", "waiting", None, "not known while Kafka does not answer")
    if topic.newest_ms is None:
        return Stage(
            "feed", "waiting", None, "no message yet: `tickhouse produce` publishes the first"
        )
    replay = observed.feed == "replay"
    if not replay and _older(observed, topic.newest_ms, FEED_SILENT_MS):
        sentence = (
            "The feed has published nothing for "
            f"{format_duration(observed.now - topic.newest_ms)}: check that `tickhouse produce` "
            "is running, and its log."
        )
        return Stage("feed", "problem", trade_ms, "silent", problem=sentence)
    silent = trade_ms is None or _older(observed, trade_ms, TRADES_SILENT_MS)
    if not replay and observed.any_market_open and silent:
        since = (
            f"for {format_duration(observed.now - trade_ms)}"
            if trade_ms
            else "among its newest messages"
        )
        sentence = (
            f"The feed is connected, but had no trade {since} though a market is open: check the "
            "producer's log and Finnhub's status."
        )
        return Stage("feed", "problem", trade_ms, "no trades", problem=sentence)
    detail = (
        "publishing" if observed.any_market_open or replay else "publishing; markets are closed"
    )
    if topic.watermark_ms is not None and not replay:
        detail += f"; watermark {format_duration(max(0, observed.now - topic.watermark_ms))} old"
    return Stage("feed", "ok", None if replay else trade_ms or topic.newest_ms, detail)


def _kafka(observed: Observation) -> Stage:
    if observed.kafka_error:
        return Stage("kafka", "problem", None, "away", problem=observed.kafka_error)
    newest = max((tail.newest_ms or 0 for tail in observed.topics.values()), default=0) or None
    rejected = observed.topics.get(REJECTED_TOPIC, TopicTail(0)).records
    return Stage("kafka", "ok", newest, f"{len(observed.topics)} topics, {rejected:,} rejections")


def _candles(observed: Observation) -> Stage:
    lag = observed.lag.get("candles")
    topic = observed.topics.get(CANDLES_TOPIC, TopicTail(0))
    live = observed.topics.get(LIVE_TOPIC, TopicTail(0))
    newest = None if observed.feed == "replay" else topic.newest_final_end_ms
    if observed.kafka_error:
        return Stage("candles", "waiting", None, "not known while Kafka does not answer")
    if topic.newest_ms is None and live.newest_ms is None:
        return Stage("candles", "waiting", None, "no candle yet", lag)
    outputs = [moment for moment in (topic.newest_ms, live.newest_ms) if moment is not None]
    inputs = observed.topics.get(STOCKS_TOPIC, TopicTail(0))
    behind = (inputs.newest_trade_ms or 0) - max(outputs)
    if lag and behind > CANDLES_BEHIND_MS:
        sentence = (
            f"Candles are {format_duration(behind)} behind the trades, {lag:,} messages: check "
            "that `tickhouse candles` is running, and its log."
        )
        return Stage("candles", "problem", newest, "behind", lag, sentence)
    rate = observed.rates.get(LIVE_TOPIC)
    detail = "processing" if rate is None else f"processing, {rate:,.1f} partial candles/s"
    return Stage("candles", "ok", newest, detail, lag)


def _archive(observed: Observation, limits: Limits) -> Stage:
    lag = observed.lag.get("archive")
    if observed.kafka_error:
        return Stage("archive", "waiting", None, "not known while Kafka does not answer")
    if observed.newest_object_ms is None:
        return Stage("archive", "waiting", None, "no object yet", lag)
    behind = _newest_input(observed) - observed.newest_object_ms
    if lag and behind > limits.archive_ms and observed.lake_error is None:
        sentence = (
            f"The archive is {format_duration(behind)} behind its topics, {lag:,} messages: check "
            "that `tickhouse archive` is running, and its log."
        )
        return Stage("archive", "problem", observed.newest_object_ms, "behind", lag, sentence)
    return Stage("archive", "ok", observed.newest_object_ms, "writing", lag)


def _lake(observed: Observation) -> Stage:
    if observed.lake_error:
        return Stage("lake", "problem", None, "away", problem=observed.lake_error)
    if not observed.lake_configured:
        return Stage("lake", "waiting", None, "not configured: no credentials are set")
    if observed.newest_object_ms is None:
        return Stage("lake", "waiting", None, "no object yet")
    return Stage("lake", "ok", observed.newest_object_ms, "answers")


def _load(observed: Observation, limits: Limits) -> Stage:
    if observed.warehouse_error:
        return Stage("load", "problem", None, "not known", problem=observed.warehouse_error)
    if observed.loaded_ms is None:
        return Stage("load", "waiting", None, "no load yet: Airflow or `tickhouse load` runs it")
    behind = (observed.newest_object_ms or 0) - observed.loaded_ms
    if behind > limits.load_ms:
        sentence = (
            f"The last load ended {format_duration(observed.now - observed.loaded_ms)} ago, and "
            "the lake has newer objects: check stock_pipeline in Airflow, or run `tickhouse load`."
        )
        return Stage("load", "problem", observed.loaded_ms, "behind", problem=sentence)
    detail = f"load {observed.load_id}"
    if observed.rejected_objects:
        detail += f", {observed.rejected_objects} objects rejected"
    return Stage("load", "ok", observed.loaded_ms, detail)


def _build(observed: Observation, limits: Limits) -> Stage:
    if observed.warehouse_error:
        return Stage("build", "waiting", None, "not known")
    if observed.build_failure:
        sentence = (
            f"The last build failed, and readers keep the gold of the one before: "
            f"{observed.build_failure}"
        )
        return Stage("build", "problem", observed.built_ms, "failed", problem=sentence)
    if observed.built_ms is None:
        return Stage("build", "waiting", None, "gold is not built yet")
    pending = observed.load_id is not None and (observed.built_load_id or 0) < observed.load_id
    if pending and _older(observed, observed.built_ms, limits.build_ms):
        sentence = (
            f"Gold is {format_duration(observed.now - observed.built_ms)} old, and newer loads are "
            "not in it: check stock_transform in Airflow, or run `tickhouse load`."
        )
        return Stage("build", "problem", observed.built_ms, "behind", problem=sentence)
    detail = f"gold has load {observed.built_load_id}"
    if observed.silver_outdated:
        detail += "; rows of silver are of earlier SQL: run `tickhouse load --rebuild`"
    return Stage("build", "ok", observed.built_ms, detail)


def _audit(observed: Observation) -> Stage:
    if observed.audited_ms is None:
        detail = "no audit yet: stock_quality in Airflow or `tickhouse audit` runs it"
        return Stage("audit", "waiting", None, detail)
    if observed.audit_failure:
        sentence = f"The last audit failed: {observed.audit_failure} `tickhouse audit` repeats it."
        return Stage("audit", "problem", observed.audited_ms, "failed", problem=sentence)
    detail = f"{observed.audited_candles:,} candles equal to their trades"
    return Stage("audit", "ok", observed.audited_ms, detail)


def _newest_input(observed: Observation) -> int:
    archived = (name for name in observed.topics if name != LIVE_TOPIC)
    return max((observed.topics[name].newest_ms or 0 for name in archived), default=0)


def _older(observed: Observation, moment: int, limit_ms: int) -> bool:
    return observed.now - moment > limit_ms


def format_duration(ms: int) -> str:
    """Format a time span in its largest unit, rounded down."""
    seconds = ms // 1000
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86_400} days"
