"""Build records for trades-rejected: what was rejected, why, and enough of it to resend it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from typing import NamedTuple

from app.contracts import FeedName, Rejection, RejectionRecord

MAX_PAYLOAD_BYTES = 64 * 1024


class MessageOrigin(NamedTuple):
    """The position of a message in Kafka."""

    topic_id: str | None
    topic: str | None
    partition: int | None
    offset: int | None


_NOT_IN_KAFKA = MessageOrigin(None, None, None, None)


def rejection_records(
    value: bytes | None,
    rejections: Collection[Rejection],
    feed: FeedName,
    origin: MessageOrigin | None = None,
) -> list[RejectionRecord]:
    """Return one record per rejection; the first carries the first 64 KiB of the message.

    :param value: the message, or the frame that a feed sent.
    :param origin: where the candles topology read the message; without it the stage is the feed's.
    """
    if not rejections:
        return []
    value = value or b""
    digest = hashlib.sha256(value).hexdigest()
    payload = base64.b64encode(value[:MAX_PAYLOAD_BYTES]).decode()
    position = origin or _NOT_IN_KAFKA
    return [
        RejectionRecord(
            stage="candles" if origin else "feed",
            reason=rejection.reason,
            detail=rejection.detail,
            feed=feed,
            topic=position.topic,
            partition=position.partition,
            offset=position.offset,
            indices=None if rejection.indices is None else list(rejection.indices),
            size=len(value),
            sha256=digest,
            payload=None if index else payload,
            topic_id=position.topic_id,
        )
        for index, rejection in enumerate(rejections)
    ]
