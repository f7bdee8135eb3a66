"""Build records for trades-rejected: what was rejected, why, and enough of it to resend it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

from app.contracts import FeedName, Rejection, RejectionRecord

PAYLOAD_BYTES = 64 * 1024


class MessageOrigin(NamedTuple):
    """The position of a message in Kafka."""

    topic_id: str
    topic: str
    partition: int
    offset: int


def rejection_records(
    rejections: Iterable[Rejection],
    value: bytes | None,
    origin: MessageOrigin,
    feed: FeedName,
    stage: Literal["feed", "candles"] = "candles",
) -> list[RejectionRecord]:
    """Build one record per rejection; the first carries the first 64 KiB of the message."""
    value = value or b""
    digest = hashlib.sha256(value).hexdigest()
    payload = base64.b64encode(value[:PAYLOAD_BYTES]).decode()
    return [
        RejectionRecord(
            stage=stage,
            reason=rejection.reason,
            detail=rejection.detail,
            feed=feed,
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            indices=None if rejection.indices is None else list(rejection.indices),
            size=len(value),
            sha256=digest,
            payload=None if index else payload,
            topic_id=origin.topic_id,
        )
        for index, rejection in enumerate(rejections)
    ]
