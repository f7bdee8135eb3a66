"""Archive all topics as Parquet in the lake.

    stocks-topic ───────> trades, quotes, coverage ─┐
    candles-1m, -5m, … ─> candles ──────────────────┼─> ParquetS3Sink ─> bronze/
    trades-rejected ────> rejected ─────────────────┘

At-least-once, reading committed records only. Messages that the parser of `stocks-topic` rejects
are skipped and counted; the candles topology records them in `trades-rejected`.
"""

from __future__ import annotations

import logging
import time

from confluent_kafka import KafkaException
from quixstreams.exceptions import QuixException
from quixstreams.kafka import ConnectionConfig

from app.contracts import CANDLES_TOPIC, REJECTED_TOPIC, ROLLUP_TOPICS, STOCKS_TOPIC
from app.settings import Settings
from app.topics import ARCHIVE_GROUP, BrokerUnreachableError, await_topics
from sinks.bucket import Bucket
from sinks.parquet_s3 import IncarnationEndedError, ParquetS3Sink
from sinks.rows import Converter, candle_rows, rejection_rows, stocks_rows
from topologies.runtime.archive_application import ArchiveApplication, ArchiveIncarnations

logger = logging.getLogger(__name__)

ARCHIVED: dict[str, Converter] = {
    STOCKS_TOPIC: stocks_rows,
    CANDLES_TOPIC: candle_rows,
    **dict.fromkeys(ROLLUP_TOPICS.values(), candle_rows),
    REJECTED_TOPIC: rejection_rows,
}
"""The archived topics, and the function that converts the messages of each to rows."""

RESTART_S = (1, 2, 5, 10, 30)
"""Delays before restarts when Kafka fails; the last one repeats."""
STEADY_S = 60

CONSUMER = {
    "isolation.level": "read_committed",
    "session.timeout.ms": 10_000,
    "socket.timeout.ms": 15_000,
    "heartbeat.interval.ms": 3_000,
    "queued.max.messages.kbytes": 16_384,
}


def build(
    settings: Settings, incarnations: ArchiveIncarnations, lake: ParquetS3Sink
) -> ArchiveApplication:
    """Build the application: from each archived topic to the lake."""
    app = ArchiveApplication(
        ConnectionConfig.from_librdkafka_dict(settings.kafka_client()),
        consumer_group=settings.named(ARCHIVE_GROUP),
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        seconds_to_flush=lambda: seconds_to_flush(
            time.time(), settings.archive_flush_interval_s, settings.finals_delay_s
        ),
        consumer_extra_config=CONSUMER,
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=settings.state_dir / "archive",
        broker_availability_timeout=0,
        loglevel=None,
        on_consumer_error=_stop_unlogged,
        on_processing_error=_stop_unlogged,
        incarnations=incarnations,
        before_assign=lake.rescue,
        waiting_bytes=lambda: lake.size_bytes,
        max_bytes=settings.archive_buffer_mib * 1024 * 1024,
    )
    for name in ARCHIVED:
        topic = app.topic(
            settings.named(name), key_deserializer="bytes", value_deserializer="bytes"
        )
        app.dataframe(topic).sink(lake)
    return app


def seconds_to_flush(now_s: float, interval_s: float, offset_s: float) -> float:
    """Return the seconds until the next flush: `interval_s`, or less to follow final candles.

    Once per minute (or per interval, if that is longer) a flush takes place `offset_s` after the
    start of the minute, when the final candles of the previous minute are in Kafka. A load right
    after it finds them, and a long interval does not delay gold.
    """
    period_s = max(60.0, interval_s)
    to_finals_s = (offset_s - now_s) % period_s or period_s
    return min(interval_s, to_finals_s)


def run(settings: Settings) -> None:
    """Archive until SIGINT or SIGTERM; wait while the broker or the lake is unavailable.

    :raises LakeError: the bucket does not exist or denies access with these credentials.
    :raises TopicError: a topic is misconfigured.
    """
    bucket = Bucket(settings)
    bucket.await_access()
    steps = {settings.named(topic): rows for topic, rows in ARCHIVED.items()}
    troubles = 0
    while True:
        await_topics(settings)
        incarnations = ArchiveIncarnations(settings)
        lake = ParquetS3Sink(bucket, steps, settings.tickhouse_feed, incarnations)
        started_s = time.monotonic()
        try:
            build(settings, incarnations, lake).run()
            return
        except IncarnationEndedError as ended:
            logger.warning("%s", ended)
        except (QuixException, KafkaException, BrokerUnreachableError) as error:
            logger.warning("Kafka interrupted the archive (%s); restarting it.", _cause(error))
        troubles = 0 if time.monotonic() - started_s > STEADY_S else troubles + 1
        time.sleep(RESTART_S[min(troubles, len(RESTART_S) - 1)])
        _rescue(lake)


def _rescue(lake: ParquetS3Sink) -> None:
    """Write records that exist only in memory; retry until the broker answers."""
    while True:
        try:
            return lake.rescue()
        except (KafkaException, BrokerUnreachableError) as error:
            logger.warning("%s Trying again.", error)
            time.sleep(RESTART_S[1])


def _stop_unlogged(*_: object) -> bool:
    """Stop the application on an error without logging it; `run` logs it once."""
    return False


def _cause(error: Exception) -> Exception:
    cause = error.__cause__
    return cause if isinstance(cause, Exception) else error
