"""Types that the packages exchange on the way to Kafka."""

from __future__ import annotations

from typing import NamedTuple

from app.contracts import Message, RejectionRecord

MINUTE_MS = 60_000

Outgoing = Message | RejectionRecord
"""A message for stocks-topic, or a record for trades-rejected."""


class LostSpan(NamedTuple):
    """A span of the feed whose messages will never reach Kafka.

    :ivar symbol: None for every symbol.
    :ivar from_ms: None if the start is not known.
    :ivar to_ms: None for the present.
    """

    symbol: str | None
    from_ms: int | None
    to_ms: int | None


def minute_of(ms: int) -> int:
    """Return the start of the minute that contains `ms`."""
    return ms - ms % MINUTE_MS
