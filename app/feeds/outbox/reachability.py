"""Check in a thread whether Kafka answers and whether a topic exists."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

METADATA_TIMEOUT_S = 1.0
"""A broker that does not answer within this time is considered unavailable."""
PROBE_INTERVAL_S = 2.0

log = logging.getLogger(__name__)


class BrokerReply(NamedTuple):
    """The outcome of a metadata request.

    :ivar error: why there was no response; None if there was one.
    :ivar exists: whether the topic exists.
    """

    topic: str
    error: str | None
    exists: bool = False


class BrokerReachability:
    """Tracks whether Kafka answers, without blocking.

    A lost connection alone proves nothing: Kafka is considered unavailable if a metadata request is
    not answered either, and available again when it has answered one or delivered a message.

    :param metadata: a client's `list_topics`, which blocks.
    """

    def __init__(self, brokers: str, metadata: Callable[..., Any]) -> None:
        self._brokers = brokers
        self._metadata = metadata
        self._threads = ThreadPoolExecutor(1, "kafka-contact")
        self._asked: Future[BrokerReply] | None = None
        self._next_s = 0.0
        self._doubt = ""
        self._away = False

    @property
    def in_doubt(self) -> bool:
        """Whether Kafka should be probed."""
        return bool(self._doubt)

    def disconnected(self, reason: str) -> None:
        """Record that no broker is connected."""
        self._doubt = reason

    def answered(self) -> bool:
        """Record that Kafka has answered; return whether it was unavailable until then."""
        was_away, self._away, self._doubt = self._away, False, ""
        return was_away

    def probe(self, topic: str) -> BrokerReply | None:
        """Return a response that has arrived, about `topic` or an earlier one. Call it frequently.

        It makes one request at a time, at most one in two seconds.
        """
        if self._asked is None:
            if time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + PROBE_INTERVAL_S
                self._asked = self._threads.submit(self._answer, topic)
            return None
        if not self._asked.done():
            return None
        answer, self._asked = self._asked.result(), None
        if answer.error is not None and self._doubt and not self._away:
            self._away = True
            log.warning(
                "Kafka at %s does not answer; messages wait until it does (%s)",
                self._brokers,
                self._doubt,
            )
        return answer

    def _answer(self, topic: str) -> BrokerReply:
        try:
            known = self._metadata(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            return BrokerReply(topic, error.args[0].str())
        return BrokerReply(topic, None, known.error is None and bool(known.partitions))
