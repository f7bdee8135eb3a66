"""The newest records of `trades-rejected`, for the page's list."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from app.contracts import RejectionRecord, decode_rejection
from app.dashboard.live import TopicRecord

HELD = 200
SHOWN_BYTES = 2_000
"""Of a payload, which is up to 64 KiB."""


class ShownRejection(Struct, frozen=True):
    """A rejected message or trade, as the page shows it."""

    at: int
    """Kafka's timestamp of the record, UNIX ms"""
    stage: str
    reason: str
    detail: str
    topic: str | None
    partition: int | None
    offset: int | None
    size: int
    payload: str | None
    """the message's first bytes; bytes that are not UTF-8 as \\xNN"""


class RecentRejections:
    """The last `HELD` rejections; readers add them in one thread, requests read them in others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[ShownRejection] = deque(maxlen=HELD)

    def apply(self, records: Iterable[TopicRecord]) -> None:
        """Add records of the topic; values that are no rejections are skipped."""
        found = [shown for record in records if (shown := _shown(record))]
        with self._lock:
            self._records.extend(found)

    def newest(self, limit: int) -> list[ShownRejection]:
        """The last `limit` rejections, newest first."""
        with self._lock:
            ordered = sorted(self._records, key=lambda record: record.at)
        return ordered[-limit:][::-1]


def _shown(record: TopicRecord) -> ShownRejection | None:
    try:
        rejection = decode_rejection(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return ShownRejection(
        at=record.timestamp_ms,
        stage=rejection.stage,
        reason=rejection.reason,
        detail=rejection.detail,
        topic=rejection.topic,
        partition=rejection.partition,
        offset=rejection.offset,
        size=rejection.size,
        payload=_text(rejection),
    )


def _text(rejection: RejectionRecord) -> str | None:
    if rejection.payload is None:
        return None
    try:
        content = base64.b64decode(rejection.payload, validate=True)
    except (binascii.Error, ValueError):
        return rejection.payload[:SHOWN_BYTES]
    return content[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
