"""Run a topology's application; restart it from the last commit when Kafka fails."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from quixstreams.exceptions import QuixException
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.state.rocksdb import RocksDBOptions

from app.settings import Settings
from app.topics import MAX_MESSAGE_BYTES, BrokerUnreachableError, await_topics, compact_soon
from topologies.runtime.batched_polling import BatchedApplication
from topologies.runtime.incarnations import StateIncarnations, TopicRecreatedError
from topologies.runtime.instance import Instance, claim_instance
from topologies.runtime.topic_incarnations import TopicIncarnations

logger = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 10_000
SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_MS = SESSION_TIMEOUT_MS // 4
FETCH_WAIT_MS = 100
"""How long Kafka delays the response to a fetch without data, and with it later requests on the
same connection. An assignment requests four offsets per partition, one after the other."""
LINGER_MS = 20
"""How long records wait to be batched while there is more input. A worker that has caught up sends
them at once (`IncarnationProducer.flush_soon`). Shorter waits keep a librdkafka thread busy."""
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
MAX_WAITING_KB = 64 * 1024
"""Limit for output that the broker has not acknowledged; a worker that reaches it waits."""
SMALL_STORES = RocksDBOptions(
    write_buffer_size=8 * 1024 * 1024,
    target_file_size_base=8 * 1024 * 1024,
    max_total_wal_size=16 * 1024 * 1024,
    block_cache_size=64 * 1024 * 1024,
)
"""Each partition has its own store. Active symbols are cached in memory, so RocksDB's default of
three 64 MB buffers per store would hold data that is never read."""


Prepare = Callable[[Settings, Instance], BatchedApplication]
Build = Callable[[BatchedApplication, Settings, StateIncarnations], None]
"""Wires a topology on an application."""


def run(settings: Settings, group: str, prepare: Prepare) -> None:
    """Run a worker until SIGINT or SIGTERM; restart it from the last commit when Kafka fails.

    :param group: the worker's consumer group, without the namespace.
    :param prepare: builds the application; called again after each failure.
    """
    with claim_instance(settings.state_dir / group, settings.tickhouse_instance) as instance:
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
                TopicRecreatedError,
            ) as error:
                if app and app.stop_requested:
                    logger.warning("stopped, the next start repeats what is uncommitted: %s", error)
                    return
                if time.monotonic() - started > 60:
                    retry_s = RETRY_FIRST_S
                logger.warning(
                    "%s: %s; restarting from the last commit in %.0f s",
                    type(error).__name__,
                    error,
                    retry_s,
                )
            time.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MAX_S)


def prepare(
    settings: Settings, instance: Instance, group: str, input_topic: str, build: Build
) -> BatchedApplication:
    """Build the application of a topology, and discard local state of earlier topic incarnations.

    :param group: the consumer group, without the namespace.
    :param input_topic: the topic that the state belongs to, without the namespace.
    :param build: wires the topology on the application.
    """
    group, topic = settings.named(group), settings.named(input_topic)
    incarnations = StateIncarnations(settings, instance.folder, group, topic)
    incarnations.discard_foreign_state()
    app = application(settings, instance, group)
    build(app, settings, incarnations)
    incarnations.record_ids()
    compact_soon(settings, incarnations.changelogs())
    logger.info("instance %d reads %s", instance.number, topic)
    tune_gc()
    return app


def application(settings: Settings, instance: Instance, group: str) -> BatchedApplication:
    """Create a Quix application with a worker's settings, without a topology.

    :param group: the consumer group, with its namespace.
    """
    me = instance.transactional_id(group)
    return BatchedApplication(
        broker_address=ConnectionConfig.from_librdkafka_dict(settings.kafka_client()),
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=settings.candle_commit_interval_s,
        state_dir=instance.folder,
        loglevel=None,
        broker_availability_timeout=0,
        incarnations=TopicIncarnations(settings),
        rocksdb_options=SMALL_STORES,
        consumer_extra_config={
            "group.instance.id": me,  # a killed worker resumes without a rebalance
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
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


def tune_gc() -> None:
    """Collect garbage rarely, because cached state has no cycles.

    Collection took 30 % of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
