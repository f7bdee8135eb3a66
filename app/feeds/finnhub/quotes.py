"""Parse responses to Finnhub's quote requests: pure functions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from app.contracts import (
    MAX_DETAIL,
    FeedName,
    Quote,
    Rejection,
    encode,
)
from app.message_parser import MessageRejectedError, decode

_FIELDS = ("c", "d", "dp", "h", "l", "o", "pc")


def parse_quote(
    payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
) -> Quote | Rejection | None:
    """Convert a response to a quote message; None if Finnhub does not know the symbol."""
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
        decode(symbol.encode(), encode(quote), feed)  # check it as a reader of the topic does
    except msgspec.ValidationError as error:
        return Rejection("schema", f"the quote is malformed: {error}"[:MAX_DETAIL])
    except MessageRejectedError as error:
        return error.rejection
    return quote
