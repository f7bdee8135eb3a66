"""The Kafka topics of a namespace: names, configuration and incarnations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
)
from app.errors import TickhouseError
from app.settings import Settings

logger = logging.getLogger(__name__)

TOPICS = (STOCKS_TOPIC, CANDLES_TOPIC, *ROLLUP_TOPICS.values(), LIVE_TOPIC, REJECTED_TOPIC)
CANDLES_GROUP = "candles"
ARCHIVE_GROUP = "archive"
"""The consumer groups of the topologies, without the namespace."""
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""The limit of brokers and clients. The contracts keep valid messages far below it."""

CHANGELOG_SETTINGS = {
    "segment.ms": "60000",
    "segment.bytes": str(32 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": "300000",
}
"""Configuration of changelog topics. An open segment is not compacted, and tombstones are kept for
a while: with Kafka's defaults of a week and a day, a worker without local state would have to read
a day of writes."""

_PROBE_S = 2.0
_AWAY = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
)
"""Errors of a broker that is starting or stopping."""


class TopicError(TickhouseError):
    """The broker cannot be reached, or a topic is misconfigured."""


def topic_settings(settings: Settings) -> dict[str, str]:
    """Return the Kafka configuration of every topic."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_hours * 3_600_000),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "CreateTime",
    }


class BrokerUnreachableError(TopicError):
    """No broker answers; a retry may succeed."""


def await_topics(settings: Settings, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Create and check the topics; while the broker does not answer, log a warning and wait.

    :param stopped: returns whether to give up; called every `_PROBE_S`.
    :returns: whether the topics exist; False after giving up.
    :raises TopicError: a topic cannot be created, or is misconfigured.
    """
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    logged = False
    while not stopped():
        try:
            admin.list_topics(timeout=_PROBE_S)
            ensure_topics(settings)
            return True
        except KafkaException as error:
            problem = unreachable(settings, error)
        except BrokerUnreachableError as error:
            problem = error
        if not logged:
            logger.warning("%s Waiting for it.", problem)
        logged = True
    return False


def ensure_topics(settings: Settings, timeout_s: float = 30) -> None:
    """Create missing topics and check the partition counts of existing ones.

    :raises BrokerUnreachableError: the broker does not answer.
    :raises TopicError: a topic cannot be created, or has another partition count.
    """
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    wanted = [settings.named(topic) for topic in TOPICS]
    new = [
        NewTopic(
            name,
            num_partitions=settings.kafka_partitions,
            replication_factor=settings.kafka_replication_factor,
            config=topic_settings(settings),
        )
        for name in wanted
    ]
    try:
        for name, done in admin.create_topics(new, request_timeout=timeout_s).items():
            _created(name, done)
    except KafkaException as error:
        raise unreachable(settings, error) from None
    _check_partitions(admin, settings, wanted, timeout_s)


def _created(name: str, done: Any) -> None:
    try:
        done.result()
    except KafkaException as error:
        kafka_error: KafkaError = error.args[0]
        if kafka_error.code() in (KafkaError.TOPIC_ALREADY_EXISTS,):
            return
        if kafka_error.code() in _AWAY:
            raise
        raise TopicError(
            f"The topic {name} could not be created: {kafka_error.str()}. Create it, or allow this "
            "user to."
        ) from None


def _check_partitions(
    admin: AdminClient, settings: Settings, names: Iterable[str], timeout_s: float
) -> None:
    """Wait until every topic exists, then compare its partition count with the setting."""
    deadline = time.monotonic() + timeout_s
    for name in names:
        while True:
            try:
                topic = admin.list_topics(name, timeout=timeout_s).topics[name]
            except KafkaException as error:
                raise unreachable(settings, error) from None
            if topic.error is None and topic.partitions:
                break
            if time.monotonic() > deadline:
                raise TopicError(f"The topic {name} did not appear within {timeout_s:.0f} s.")
            time.sleep(0.05)
        count = len(topic.partitions)
        if count != settings.kafka_partitions:
            raise TopicError(
                f"The topic {name} has {count} partitions, KAFKA_PARTITIONS is "
                f"{settings.kafka_partitions}. Symbols keep their partition, so the count of a "
                f"topic cannot change: set KAFKA_PARTITIONS to {count}, or use another "
                "TICKHOUSE_NAMESPACE."
            )


def compact_soon(settings: Settings, names: Iterable[str]) -> None:
    """Configure changelog topics so that they stay near the size of their state.

    Log a warning about topics that this user may not configure.

    :raises BrokerUnreachableError: the broker does not answer.
    """
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in CHANGELOG_SETTINGS.items()
    ]
    asked = [
        ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries) for name in names
    ]
    admin = AdminClient(settings.kafka_client() | {"log_level": 0})
    for resource, done in admin.incremental_alter_configs(asked).items() if asked else ():
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise unreachable(settings, error) from None
            logger.warning(
                "The configuration of topic %s is unchanged, as this user may not alter it; set %s "
                "to keep it small.",
                resource.name,
                ", ".join(f"{name}={value}" for name, value in CHANGELOG_SETTINGS.items()),
            )


def topic_ids(
    settings: Settings,
    names: Iterable[str],
    timeout_s: float = 30,
    admin: AdminClient | None = None,
) -> dict[str, str]:
    """Return the Kafka id (UUID) of each topic in `names` that exists.

    The id identifies the incarnation.

    :raises BrokerUnreachableError: the broker does not answer.
    """
    admin = admin or AdminClient(settings.kafka_client() | {"log_level": 0})
    return request_topic_ids(settings, names, timeout_s, admin)()


def request_topic_ids(
    settings: Settings, names: Iterable[str], timeout_s: float, admin: AdminClient
) -> Callable[[], dict[str, str]]:
    """Send the request of `topic_ids`; return a function that waits for the response."""
    asked = admin.describe_topics(TopicCollection(list(names)), request_timeout=timeout_s)

    def answer() -> dict[str, str]:
        ids = {}
        for name, description in asked.items():
            try:
                ids[name] = _as_kafka_writes(str(description.result().topic_id))
            except KafkaException as error:
                kafka_error: KafkaError = error.args[0]
                if kafka_error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise unreachable(settings, error) from None
        return ids

    return answer


def _as_kafka_writes(topic_id: str) -> str:
    """Convert an id from librdkafka's base64 (`/`, `+`) to Kafka's (`_`, `-`)."""
    return topic_id.replace("/", "_").replace("+", "-")


def unreachable(settings: Settings, error: Exception) -> BrokerUnreachableError:
    """Return the error for a broker that does not answer."""
    reason = error.args[0].str() if error.args and hasattr(error.args[0], "str") else error
    return BrokerUnreachableError(
        f"Kafka at {settings.kafka_brokers} (KAFKA_BROKERS) does not answer: {reason}. Start it, "
        "or correct the address."
    )
