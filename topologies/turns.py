"""Quix's loop, a turn of many messages at a time.

Quix looks after itself between any two messages (periodic tasks, the checkpoint's age, back
pressure, run conditions) and wraps each message in a row and a context of its own. Here a turn of
up to `MESSAGES_A_TURN` messages shares the first and does without the second.
"""

from __future__ import annotations

import time
from typing import Any

from quixstreams.context import set_message_context
from quixstreams.kafka.consumer import raise_for_msg_error
from quixstreams.models.messagecontext import MessageContext

from topologies.candle import PARTIAL_EVERY_MS
from topologies.life_application import LifeApplication, LifeConsumer, LifeProducer

MESSAGES_A_TURN = 100
LULL_MS = range(55, 70)
"""Of a slot of partials: most have gone out with its first messages, and a commit of 25 ms ends
before the next slot begins, and outside the lull, so that the next one begins in it again."""


class Lulls:
    """When a checkpoint is best committed: nothing is read meanwhile, so when least is awaited.

    :param interval_s: how old a checkpoint must be.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._checkpoint: object = None
        self._due_s = 0.0

    def reached(self, checkpoint: object, now_s: float, wall_s: float) -> bool:
        """Whether to commit `checkpoint` now.

        :param now_s: of a clock that never goes back.
        :param wall_s: UNIX time; producers date `received_at` by it.
        """
        if checkpoint is not self._checkpoint:
            self._checkpoint, self._due_s = checkpoint, now_s + self._interval_s
        return now_s >= self._due_s and int(wall_s * 1000) % PARTIAL_EVERY_MS in LULL_MS


class TurnApplication(LifeApplication):
    """A Quix application whose topics' keys and values are bytes, and whose errors end it.

    It commits in the first lull after `commit_interval`; when it misses that, Quix commits.
    """

    _consumer: LifeConsumer
    _producer: LifeProducer

    def __init__(self, *args: Any, commit_interval: float, **kwargs: Any) -> None:
        slot_s = PARTIAL_EVERY_MS / 1000
        super().__init__(
            *args,
            commit_interval=commit_interval + slot_s,
            consumer_poll_timeout=slot_s,
            **kwargs,
        )
        self._lulls = Lulls(commit_interval)

    def _process_message(self, dataframe_composed: dict[str, Any]) -> None:
        """As `Application._process_message`, for as many messages as are there."""
        self._producer.poll(self._config.producer_poll_timeout)
        consumer, lives = self._consumer, self._lives
        store_offset = self._processing_context.store_offset
        timeout_s = self._config.consumer_poll_timeout
        assignments = lives.assignments
        for nth in range(MESSAGES_A_TURN):
            polled = consumer.poll_now() if nth else consumer.poll(timeout_s)
            if polled is None:
                self._producer.hurry()  # all that came is done, and somebody waits for it
                break
            message = raise_for_msg_error(polled)
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            set_message_context(MessageContext(topic, partition, offset, len(message)))
            dataframe_composed[topic](
                message.value(), message.key(), message.timestamp()[1], message.headers()
            )
            store_offset(topic, partition, offset)
            if lives.assignments != assignments:  # state may have to be recovered first
                return
        context = self._processing_context
        if self._lulls.reached(context.checkpoint, time.monotonic(), time.time()):
            context.commit_checkpoint(force=True)
