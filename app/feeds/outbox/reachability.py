"""Whether Kafka answers, and whether a topic is there: asked in a thread, nobody waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

ANSWER_S = 1.0
"""A broker that says nothing for so long does not answer."""
ASK_EVERY_S = 2.0

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What came of a question.

    :ivar error: why there was no answer; None when there was one.
    :ivar exists: whether the topic is there.
    """

    topic: str
    error: str | None
    exists: bool = False


class BrokerReachability:
    """Whether Kafka answers, as far as its answers prove it. Nobody waits for them.

    A lost connection alone proves nothing: Kafka is away when a question, too, stays unanswered,
    and back when it has answered one or delivered something.

    :param metadata: a client's `list_topics`, which waits for the answer.
    """

    def __init__(self, brokers: str, metadata: Callable[..., Any]) -> None:
        self._brokers = brokers
        self._metadata = metadata
        self._threads = ThreadPoolExecutor(1, "kafka-contact")
        self._asked: Future[Answer] | None = None
        self._next_s = 0.0
        self._doubt = ""
        self._away = False

    @property
    def in_doubt(self) -> bool:
        """Whether it is to be asked."""
        return bool(self._doubt)

    def lost(self, reason: str) -> None:
        """No broker is connected."""
        self._doubt = reason

    def proved(self) -> bool:
        """Kafka has answered; whether it had been away until then."""
        was_away, self._away, self._doubt = self._away, False, ""
        return was_away

    def ask(self, topic: str) -> Answer | None:
        """An answer that has come, about `topic` or what was asked before; to be called often.

        It asks one question at a time, each two seconds at most.
        """
        if self._asked is None:
            if time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + ASK_EVERY_S
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

    def _answer(self, topic: str) -> Answer:
        try:
            known = self._metadata(topic, timeout=ANSWER_S).topics[topic]
        except KafkaException as error:
            return Answer(topic, error.args[0].str())
        return Answer(topic, None, known.error is None and bool(known.partitions))
