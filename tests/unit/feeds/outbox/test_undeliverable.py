"""What Kafka's errors mean for a message, what is lost with it, and what is sent instead."""

from __future__ import annotations

import base64
import sys

import pytest
from confluent_kafka import KafkaError

from app.contracts import (
    MAX_DETAIL,
    Message,
    RejectionRecord,
    Trade,
    Trades,
    Watermark,
    encode,
)
from app.feeds.messages.outgoing import LostSpan
from app.feeds.outbox.spill_format import KafkaRecord
from app.feeds.outbox.undeliverable import (
    ErrorClass,
    SendWindow,
    classify,
    lost_spans,
    rejection,
    smaller_parts,
)
from app.message_parser import decode

M = 1_731_600_060_000
MINUTE = 60_000
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
INVALID = KafkaError(KafkaError.INVALID_RECORD)


def _trades(received: int, *times: int) -> Trades:
    trades = [Trade(M + t, 1, 1, None, i=place) for place, t in enumerate(times)]
    return Trades("A", "live", "src", "c", M + received, trades)


def _record(message: Message | RejectionRecord) -> KafkaRecord:
    return KafkaRecord("stocks-topic", b"A", encode(message))


@pytest.mark.parametrize(
    ("code", "reports"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, ErrorClass.TOO_LARGE),
        (KafkaError.RECORD_LIST_TOO_LARGE, ErrorClass.TOO_LARGE),
        (KafkaError.INVALID_RECORD, ErrorClass.INVALID),
        (KafkaError._INVALID_DIFFERENT_RECORD, ErrorClass.INVALID),
        (KafkaError.POLICY_VIOLATION, ErrorClass.INVALID),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ErrorClass.RETRIABLE),
        (KafkaError._PURGE_QUEUE, ErrorClass.RETRIABLE),
        (KafkaError._DESTROY, ErrorClass.RETRIABLE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ErrorClass.FATAL),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, ErrorClass.FATAL),
        (KafkaError.UNSUPPORTED_VERSION, ErrorClass.FATAL),
    ],
)
def test_an_error_is_of_the_message_of_the_moment_or_of_the_producer(
    code: int, reports: ErrorClass
) -> None:
    assert classify(KafkaError(code)) is reports
    assert classify(KafkaError(code, fatal=True)) is ErrorClass.FATAL


def test_lost_trades_are_lost_from_the_first_until_they_were_received() -> None:
    assert lost_spans(_record(_trades(1_500, 1_000, 1_200)), "live") == [
        LostSpan("A", M + 1_000, M + 1_500)
    ]


def test_each_minute_of_lost_trades_is_one_of_its_own() -> None:
    lost = lost_spans(_record(_trades(MINUTE + 90, MINUTE - 20, MINUTE + 10, -5 * MINUTE)), "live")
    assert sorted(lost, key=lambda item: item.from_ms or 0) == [
        LostSpan("A", M - 5 * MINUTE, M - 4 * MINUTE),
        LostSpan("A", M + MINUTE - 20, M + MINUTE),
        LostSpan("A", M + MINUTE + 10, M + MINUTE + 90),
    ]


def test_a_trade_that_is_ahead_of_its_receipt_is_lost_all_the_same() -> None:
    assert lost_spans(_record(_trades(900, 1_000)), "live") == [LostSpan("A", M + 1_000, M + 1_001)]


def test_with_anything_but_trades_nothing_of_the_feed_is_lost() -> None:
    watermark = Watermark("A", "live", "src", M, M, M, 60_000)
    assert lost_spans(_record(watermark), "live") == []
    assert lost_spans(KafkaRecord("stocks-topic", b"A", b"nonsense"), "live") == []
    assert lost_spans(_record(_trades(1, 0)), "simulated") == [], "of another feed"


def test_what_is_rejected_is_on_record_with_what_it_was() -> None:
    record = _record(_trades(1_500, 1_000))
    rejected = rejection(record, "too large " * 100, "live")
    assert (rejected.stage, rejected.reason) == ("feed", "rejected_by_kafka")
    assert base64.b64decode(rejected.payload or "") == record.value
    assert rejected.size == len(record.value)
    assert len(rejected.detail) <= MAX_DETAIL


def test_trades_that_are_too_large_together_are_halved_until_one_is_alone() -> None:
    parts = [_record(_trades(9, *range(5)))]
    done: list[int] = []
    while parts:
        part = parts.pop()
        smaller = smaller_parts(part, TOO_LARGE, "live")
        parts += smaller
        if not smaller:
            message = decode(part.key, part.value, "live").message
            assert isinstance(message, Trades)
            done += [trade.i for trade in message.trades]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert smaller_parts(_record(_trades(9, 1, 2)), INVALID, "live") == []


@pytest.mark.parametrize("error", [TOO_LARGE, INVALID])
def test_of_a_rejection_the_payload_is_left_out_and_then_nothing(error: KafkaError) -> None:
    record = _record(rejection(_record(_trades(1, 0)), "", "live"))
    (smaller,) = smaller_parts(record, error, "live")
    assert len(smaller.value) < len(record.value)
    assert smaller_parts(smaller, error, "live") == []


def _takes(window: SendWindow, size: int) -> bool:
    return window.has_room(1, KafkaRecord("", None, bytes(size - 160)))


def test_what_was_rejected_together_is_sent_in_halves() -> None:
    window = SendWindow()
    assert window.has_room(sys.maxsize // 2, KafkaRecord("", None, b""))
    window.rejected(1_000, too_large=False)
    assert _takes(window, 499)
    assert not _takes(window, 500)
    assert window.has_room(0, KafkaRecord("", None, bytes(10_000))), "alone, anything may go"
    for _ in range(20):
        window.rejected(1_000, too_large=False)
    assert not _takes(window, 160)
    assert window.has_room(0, KafkaRecord("", None, b""))


def test_it_grows_again_but_not_to_what_was_too_large() -> None:
    window = SendWindow()
    window.rejected(4_000, too_large=True)
    window.rejected(1_000, too_large=False)
    for _ in range(9):
        window.delivered()
    assert _takes(window, 1_999)
    assert not _takes(window, 2_000)
