"""Quix's loop, a turn of many messages at a time.

Quix looks after itself between any two messages (periodic tasks, the checkpoint's age, back
pressure, run conditions) and wraps each message in a row and a context of its own. Here a turn of
up to `MESSAGES_A_TURN` messages shares the first and does without the second.
"""

from __future__ import annotations

from typing import Any

from quixstreams.context import set_message_context
from quixstreams.kafka.consumer import raise_for_msg_error
from quixstreams.models.messagecontext import MessageContext

from topologies.life_application import LifeApplication, LifeConsumer, LifeProducer

MESSAGES_A_TURN = 100


class TurnApplication(LifeApplication):
    """A Quix application whose topics' keys and values are bytes, and whose errors end it."""

    _consumer: LifeConsumer
    _producer: LifeProducer

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
                break
