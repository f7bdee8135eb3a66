"""Convert a vendor's response to a quote request to messages for Kafka: pure."""

from __future__ import annotations

import json
from typing import Any

from app.contracts import FeedName, Quote, Rejection, RejectionRecord
from app.feeds.vendor import ParseQuote
from app.rejection_records import rejection_records


def quote_messages(
    payload: Any, parse: ParseQuote, *, symbol: str, feed: FeedName, source: str, received_at: int
) -> list[Quote | RejectionRecord]:
    """Return the quote in `payload`, or a rejection that contains the response.

    The list is empty if the vendor does not know the symbol.
    """
    quote = parse(payload, symbol=symbol, feed=feed, source=source, received_at=received_at)
    if isinstance(quote, Rejection):
        return [*rejection_records(as_json(payload).encode(), [quote], feed)]
    return [] if quote is None else [quote]


def as_json(payload: Any) -> str:
    """Return a response as JSON text, as close to the original as the client library leaves it."""
    return json.dumps(payload, default=str)
