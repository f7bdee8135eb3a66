"""What it means when Kafka refuses a message, and what is left to do about it: pure."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto

import msgspec
from confluent_kafka import KafkaError

from app.contracts import (
    MAX_DETAIL,
    FeedName,
    MessageRejectedError,
    RejectionRecord,
    Trade,
    Trades,
    decode,
    decode_rejection,
    encode,
)
from app.feeds.live.coverage import MINUTE_MS, Lost, minute_of
from app.feeds.messages.building import MAX_PAYLOAD_BYTES, halves
from app.feeds.outbox.spill_file import Record

REASON = "rejected_by_kafka"


class Verdict(Enum):
    """What an error of Kafka says about the message it was reported for."""

    TOO_LARGE = auto()
    """The message, or the batch it was sent in, is larger than the topic takes."""
    INVALID = auto()
    """The message, or another one of its batch, is not what the topic takes."""
    UNSENT = auto()
    """Nothing: it is to be sent again."""
    STOP = auto()
    """The producer may not, or cannot, send at all."""


_VERDICTS = {
    KafkaError.MSG_SIZE_TOO_LARGE: Verdict.TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE: Verdict.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: Verdict.TOO_LARGE,
    KafkaError.INVALID_RECORD: Verdict.INVALID,
    KafkaError._INVALID_DIFFERENT_RECORD: Verdict.INVALID,
    KafkaError.INVALID_TIMESTAMP: Verdict.INVALID,
    KafkaError.INVALID_MSG: Verdict.INVALID,
    KafkaError.POLICY_VIOLATION: Verdict.INVALID,
    KafkaError._DESTROY: Verdict.UNSENT,
    KafkaError._TRANSPORT: Verdict.UNSENT,
    KafkaError._TIMED_OUT: Verdict.UNSENT,
    KafkaError._MSG_TIMED_OUT: Verdict.UNSENT,
    KafkaError._PURGE_INFLIGHT: Verdict.UNSENT,
    KafkaError._PURGE_QUEUE: Verdict.UNSENT,
    KafkaError._UNKNOWN_TOPIC: Verdict.UNSENT,
    KafkaError._UNKNOWN_PARTITION: Verdict.UNSENT,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Verdict.UNSENT,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER: Verdict.UNSENT,
    KafkaError.UNKNOWN_PRODUCER_ID: Verdict.UNSENT,
    KafkaError.INVALID_PRODUCER_EPOCH: Verdict.UNSENT,
}
"""`_DESTROY` is reported of messages that waited in the client for a topic that is gone. Of the
last three librdkafka makes a fatal error by itself where they are one."""


def verdict(error: KafkaError) -> Verdict:
    """What `error` says; an error that nobody foresaw stops the producer, which loses nothing."""
    return Verdict.STOP if error.fatal() else _VERDICTS.get(error.code(), Verdict.STOP)


def rejection(record: Record, error: str, feed: FeedName) -> RejectionRecord:
    """The record for trades-rejected of a message that Kafka refuses for good."""
    value = record.value
    return RejectionRecord(
        stage="feed",
        reason=REASON,
        detail=f"Kafka refuses it for {record.topic}: {error}"[:MAX_DETAIL],
        feed=feed,
        topic=None,
        partition=None,
        offset=None,
        indices=None,
        size=len(value),
        sha256=hashlib.sha256(value).hexdigest(),
        payload=base64.b64encode(value[:MAX_PAYLOAD_BYTES]).decode(),
    )


def smaller_parts(record: Record, error: KafkaError, feed: FeedName) -> list[Record]:
    """What to send instead of a message that was refused; nothing, if there is nothing smaller.

    Halves of trades that are too large together; a record of trades-rejected without its payload.
    """
    with suppress(msgspec.DecodeError):
        return _without_payload(record, decode_rejection(record.value))
    if verdict(error) is not Verdict.TOO_LARGE:
        return []
    with suppress(MessageRejectedError):
        message = decode(record.key, record.value, feed).message
        if isinstance(message, Trades) and len(message.trades) > 1:
            return [record._replace(value=encode(half)) for half in halves(message)]
    return []


def _without_payload(record: Record, rejected: RejectionRecord) -> list[Record]:
    if rejected.payload is None:
        return []
    rejected.payload = None
    return [record._replace(value=encode(rejected))]


def lost_with(record: Record, feed: FeedName) -> list[Lost]:
    """What of the feed is lost with a message that Kafka refuses for good.

    Only trades: of each minute that one of them lies in, the time from the first of them until the
    message was received, as far as it lies in that minute.
    """
    try:
        message = decode(record.key, record.value, feed).message
    except MessageRejectedError:
        return []  # no reader of the topic would have taken it
    if not isinstance(message, Trades):
        return []
    minutes: dict[int, list[Trade]] = {}
    for trade in message.trades:
        minutes.setdefault(minute_of(trade.t), []).append(trade)
    return [_lost_in(minute, trades, message) for minute, trades in minutes.items()]


def _lost_in(minute: int, trades: Iterable[Trade], message: Trades) -> Lost:
    times = [trade.t for trade in trades]
    until = max(message.received_at, max(times) + 1)
    return Lost(message.symbol, min(times), min(until, minute + MINUTE_MS))


class Window:
    """How many bytes Kafka's client may have at once: all it holds, until a batch is refused.

    Kafka refuses a batch as a whole, and what is sent at once becomes one. So what was refused
    together is sent again in halves, until one that was alone is refused.
    """

    def __init__(self) -> None:
        self._most_bytes = self._bytes = sys.maxsize

    def has_room(self, held_bytes: int, record: Record) -> bool:
        """Whether `record` may join what the client holds."""
        return not held_bytes or held_bytes + record.size <= self._bytes

    def refused(self, size_bytes: int, too_large: bool) -> None:
        """So many bytes were refused together; for their size, they always would be."""
        self._bytes = max(1, min(size_bytes, self._bytes) // 2)
        if too_large:
            self._most_bytes = self._bytes

    def delivered(self) -> None:
        """All that the client held was delivered."""
        self._bytes = min(2 * self._bytes, self._most_bytes)
