"""What an answer to a REST quote makes: pure."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec

from app.contracts import (
    MAX_DETAIL,
    FeedName,
    MessageRejectedError,
    Quote,
    Rejection,
    RejectionRecord,
    decode,
    encode,
)
from app.feeds.messages.building import rejections

_FIELDS = ("c", "d", "dp", "h", "l", "o", "pc")


def quote_message(
    payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
) -> Quote | Rejection | None:
    """The message of Finnhub's answer `payload`; None when Finnhub does not know the symbol."""
    if not isinstance(payload, dict):
        return Rejection("schema", "the quote is not an object")
    if payload.get("c") == 0 and payload.get("t") == 0:
        return None
    if any(isinstance(payload.get(name), str) for name in _FIELDS):
        return Rejection("schema", "a number of the quote is written as a text")
    numbers = {
        name: Decimal(repr(payload[name]))
        if isinstance(payload.get(name), float)
        else payload.get(name)
        for name in _FIELDS
    }
    origin = {"symbol": symbol, "feed": feed, "source": source, "received_at": received_at}
    try:
        quote = msgspec.convert(
            {"type": "quote", **origin, **numbers, "t": payload.get("t")}, Quote
        )
        decode(symbol.encode(), encode(quote), feed)  # as whoever reads the topic will
    except msgspec.ValidationError as error:
        return Rejection("schema", f"the quote is malformed: {error}"[:MAX_DETAIL])
    except MessageRejectedError as error:
        return error.rejection
    return quote


def quote_messages(
    payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
) -> list[Quote | RejectionRecord]:
    """What Finnhub's answer `payload` makes: a quote, or a rejection that holds the answer.

    Nothing, when Finnhub does not know the symbol.
    """
    quote = quote_message(payload, symbol=symbol, feed=feed, source=source, received_at=received_at)
    if isinstance(quote, Rejection):
        return [*rejections(as_json(payload).encode(), [quote], feed)]
    return [] if quote is None else [quote]


def as_json(payload: Any) -> str:
    """An answer as text, as near to what was sent as finnhub-python leaves it."""
    return json.dumps(payload, default=str)
