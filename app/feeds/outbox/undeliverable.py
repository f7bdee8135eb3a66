"""Interpret Kafka's errors about messages, and decide what to do about them: pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto

import msgspec
from confluent_kafka import KafkaError

from app.contracts import (
    MAX_DETAIL,
    FeedName,
    Rejection,
    RejectionRecord,
    Trade,
    Trades,
    decode_rejection,
    encode,
)
from app.feeds.messages.building import halves
from app.feeds.messages.outgoing import MINUTE_MS, LostSpan, minute_of
from app.feeds.outbox.spill_format import KafkaRecord
from app.message_parser import MessageRejectedError, decode
from app.rejection_records import rejection_records

REASON = "rejected_by_kafka"


class ErrorClass(Enum):
    """What an error of Kafka means for the message it was reported for."""

    TOO_LARGE = auto()
    """The message, or its batch, is larger than the topic accepts."""
    INVALID = auto()
    """The message, or another one of its batch, is not accepted by the topic."""
    RETRIABLE = auto()
    """The message was not sent, and should be sent again."""
    FATAL = auto()
    """The producer is not allowed, or not able, to send at all."""


_ERROR_CLASSES = {
    KafkaError.MSG_SIZE_TOO_LARGE: ErrorClass.TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE: ErrorClass.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: ErrorClass.TOO_LARGE,
    KafkaError.INVALID_RECORD: ErrorClass.INVALID,
    KafkaError._INVALID_DIFFERENT_RECORD: ErrorClass.INVALID,
    KafkaError.INVALID_TIMESTAMP: ErrorClass.INVALID,
    KafkaError.INVALID_MSG: ErrorClass.INVALID,
    KafkaError.POLICY_VIOLATION: ErrorClass.INVALID,
    KafkaError._DESTROY: ErrorClass.RETRIABLE,
    KafkaError._TRANSPORT: ErrorClass.RETRIABLE,
    KafkaError._TIMED_OUT: ErrorClass.RETRIABLE,
    KafkaError._MSG_TIMED_OUT: ErrorClass.RETRIABLE,
    KafkaError._PURGE_INFLIGHT: ErrorClass.RETRIABLE,
    KafkaError._PURGE_QUEUE: ErrorClass.RETRIABLE,
    KafkaError._UNKNOWN_TOPIC: ErrorClass.RETRIABLE,
    KafkaError._UNKNOWN_PARTITION: ErrorClass.RETRIABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART: ErrorClass.RETRIABLE,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER: ErrorClass.RETRIABLE,
    KafkaError.UNKNOWN_PRODUCER_ID: ErrorClass.RETRIABLE,
    KafkaError.INVALID_PRODUCER_EPOCH: ErrorClass.RETRIABLE,
}
"""`_DESTROY` is reported for messages that waited in the client for a topic that no longer exists.
The last three are made fatal by librdkafka itself where necessary.
"""


def classify(error: KafkaError) -> ErrorClass:
    """Classify `error`. An unknown error stops the producer, so that nothing is lost."""
    return ErrorClass.FATAL if error.fatal() else _ERROR_CLASSES.get(error.code(), ErrorClass.FATAL)


def rejection(record: KafkaRecord, error: str, feed: FeedName) -> RejectionRecord:
    """Return the trades-rejected record for a message that Kafka rejects permanently."""
    detail = f"Kafka rejects it for {record.topic}: {error}"[:MAX_DETAIL]
    (rejected,) = rejection_records(record.value, [Rejection(REASON, detail)], feed)
    return rejected


def smaller_parts(record: KafkaRecord, error: KafkaError, feed: FeedName) -> list[KafkaRecord]:
    """Return what to send instead of a rejected message; empty if it cannot be made smaller.

    Trades that are too large are split in half; a trades-rejected record loses its payload.
    """
    with suppress(msgspec.DecodeError):
        return _without_payload(record, decode_rejection(record.value))
    if classify(error) is not ErrorClass.TOO_LARGE:
        return []
    with suppress(MessageRejectedError):
        message = decode(record.key, record.value, feed).message
        if isinstance(message, Trades) and len(message.trades) > 1:
            return [record._replace(value=encode(half)) for half in halves(message)]
    return []


def _without_payload(record: KafkaRecord, rejected: RejectionRecord) -> list[KafkaRecord]:
    if rejected.payload is None:
        return []
    rejected.payload = None
    return [record._replace(value=encode(rejected))]


def lost_spans(record: KafkaRecord, feed: FeedName) -> list[LostSpan]:
    """Return the spans of the feed that are lost with a message that Kafka rejects permanently.

    Only trades count. For each minute with trades of the message, the span is the time within that
    minute from its first trade until the message was received.
    """
    try:
        message = decode(record.key, record.value, feed).message
    except MessageRejectedError:
        return []  # no reader of the topic would have accepted it
    if not isinstance(message, Trades):
        return []
    minutes: dict[int, list[Trade]] = {}
    for trade in message.trades:
        minutes.setdefault(minute_of(trade.t), []).append(trade)
    return [_lost_span(minute, trades, message) for minute, trades in minutes.items()]


def _lost_span(minute: int, trades: Iterable[Trade], message: Trades) -> LostSpan:
    times = [trade.t for trade in trades]
    until = max(message.received_at, max(times) + 1)
    return LostSpan(message.symbol, min(times), min(until, minute + MINUTE_MS))


class SendWindow:
    """Limits the bytes in the client's queue after a batch was rejected.

    Kafka rejects whole batches, and messages sent together share a batch. So rejected messages are
    sent again in halves, until a message is rejected alone.
    """

    def __init__(self) -> None:
        self._max_bytes = self._bytes = sys.maxsize

    def has_room(self, in_flight_bytes: int, record: KafkaRecord) -> bool:
        """Return whether `record` may be added to the bytes in flight."""
        return not in_flight_bytes or in_flight_bytes + record.size <= self._bytes

    def rejected(self, size_bytes: int, too_large: bool) -> None:
        """Halve the window after `size_bytes` were rejected together.

        If they were too large, the window never grows beyond that again.
        """
        self._bytes = max(1, min(size_bytes, self._bytes) // 2)
        if too_large:
            self._max_bytes = self._bytes

    def delivered(self) -> None:
        """Double the window again, because all messages in flight were delivered."""
        self._bytes = min(2 * self._bytes, self._max_bytes)
