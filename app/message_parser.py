"""Parse and check messages of `stocks-topic`.

An invalid message is rejected as a whole. If only some of its trades are invalid, only these are
rejected.
"""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from app.contracts import (
    MAX_DETAIL,
    NAME_PATTERN,
    STOCKS_TOPIC,
    Connection,
    FeedName,
    Message,
    Quote,
    Rejection,
    Source,
    Trade,
    Trades,
    Watermark,
)
from app.exact import EXACT, LIMIT, SMALL, ZERO, exact, exact_number
from app.market.sessions import END_MS, FIRST_MS
from app.market.symbols import SYMBOL_RULE, is_symbol

_RANGE = (
    "price must be above 0 and size at least 0, they and their product with at most 16 digits "
    "before the point, and the time within 1990 to 2050"
)
_IN_A_TRADE = " - at `$.trades["
"""How msgspec refers to a trade that violates the contract."""
_NAME = re.compile(NAME_PATTERN)
_TEXT_NUMBER = re.compile(rb'"(?:c|d|dp|h|l|o|pc)"\s*:\s*"')
"""msgspec accepts `"1.5"` as a Decimal, but the contract does not."""


class Parsed(NamedTuple):
    """A message without its rejected trades, and their rejections."""

    message: Message
    rejections: list[Rejection]
    indices: tuple[int, ...] | None
    """The kept trades' indices in the original message; None if all were kept."""

    def original_index(self, index: int) -> int:
        """Return the index in the original message of the kept trade `index`."""
        return index if self.indices is None else self.indices[index]


class MessageRejectedError(ValueError):
    """The message is rejected as a whole."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.rejection = Rejection(reason, detail)


class _RawTrades(Struct, tag_field="type", tag="trades"):
    symbol: str
    feed: FeedName
    source: Source
    connection: Connection
    received_at: int
    trades: list[msgspec.Raw]


_decode = msgspec.json.Decoder(Message, float_hook=exact).decode
_decode_raw = msgspec.json.Decoder(_RawTrades | Quote | Watermark).decode
_decode_trade = msgspec.json.Decoder(Trade, float_hook=exact).decode


def decode(key: bytes | None, value: bytes | None, feed: str) -> Parsed:
    """Parse a message; remove its invalid trades and return their rejections.

    Prices and sizes are rounded half-even to 12 decimals.

    :param feed: the feed of this namespace; messages of another feed are rejected.
    :raises MessageRejectedError: the message is rejected as a whole.
    """
    if value is None:
        raise MessageRejectedError("schema", "the message has no value")
    try:
        message = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _decode_each(key, value, feed, error)
    if type(message) is Quote and _TEXT_NUMBER.search(value):
        raise MessageRejectedError("schema", "a number of the quote is written as a text")
    _check_envelope(message, key, feed)
    if type(message) is not Trades or all(map(_is_valid, message.trades)):
        return Parsed(message, [], None)
    return _keep_valid(message, list(enumerate(message.trades)), {})


def _check_envelope(message: Message, key: bytes | None, feed: str) -> None:
    if key is None:
        raise MessageRejectedError("key", "the message has no key; it must be the symbol")
    if key != message.symbol.encode():
        raise MessageRejectedError(
            "key", f"the key {key[:64]!r} is not the message's symbol {message.symbol[:64]!r}"
        )
    connection = message.connection if type(message) is Trades else ""
    _check_names(message.symbol, message.source, connection)
    if message.feed != feed:
        raise MessageRejectedError(
            "feed", f"the message is of feed {message.feed}, this namespace holds {feed}"
        )
    if not FIRST_MS <= message.received_at < END_MS:
        raise MessageRejectedError(
            "range", f"received_at {message.received_at} is not within 1990 to 2050 in UNIX ms"
        )
    if type(message) is Watermark:
        _check_watermark(message)
    elif type(message) is Quote:
        _check_quote(message)


@lru_cache(maxsize=16_384)
def _check_names(symbol: str, source: str, connection: str) -> None:
    """Check the names of a message. Only valid ones, which are short, are cached.

    :raises MessageRejectedError: a name is invalid.
    """
    if not is_symbol(symbol):
        raise MessageRejectedError(
            "schema", f"{symbol[:64]!r} is not a symbol: that is {SYMBOL_RULE}"
        )
    for kind, name in (("source", source), ("connection", connection)):
        if not _NAME.fullmatch(name):
            raise MessageRejectedError(
                "schema", f"the {kind} {name[:64]!r} has a control character"
            )


def _check_watermark(message: Watermark) -> None:
    for t in (message.t, message.minute_start, message.gap_since):
        if t is not None and not FIRST_MS <= t < END_MS:
            raise MessageRejectedError(
                "range", f"the time {t} is not within 1990 to 2050 in UNIX ms"
            )
    if message.minute_start is not None and message.minute_start % 60_000:
        raise MessageRejectedError(
            "range", f"minute_start {message.minute_start} is not the start of a minute"
        )


def _check_quote(message: Quote) -> None:
    if not 0 <= message.t * 1000 < END_MS:
        raise MessageRejectedError("range", f"the quote's t {message.t} is not within UNIX seconds")
    for name in ("c", "d", "dp", "h", "l", "o", "pc"):
        number: Decimal | None = getattr(message, name)
        if number is not None:
            kept = exact_number(number)
            if not -LIMIT < kept < LIMIT:
                raise MessageRejectedError("range", f"the quote's {name} is out of range")
            setattr(message, name, kept)


def _keep_valid(
    message: Trades, trades: list[tuple[int, Trade]], rejected: dict[str, tuple[str, list[int]]]
) -> Parsed:
    """Return `message` with the valid trades of `trades` (index, trade), and the rejections."""
    kept = []
    for index, trade in trades:
        if _is_valid(trade):
            kept.append((index, trade))
            continue
        text = [name for name in ("p", "v") if type(getattr(trade, name)) is not Decimal]
        reason, detail = ("schema", f"its {text[0]} is not a number") if text else ("range", _RANGE)
        rejected.setdefault(reason, (detail, []))[1].append(index)
    message.trades = [trade for _, trade in kept]
    rejections = [Rejection(reason, text, tuple(at)) for reason, (text, at) in rejected.items()]
    return Parsed(message, rejections, tuple(index for index, _ in kept))


def in_range(trade: Trade) -> bool:
    """Return whether price, size and time are in range; round price and size to 12 decimals."""
    if not (trade.p.is_finite() and trade.v.is_finite()):
        return False
    trade.p, trade.v = exact(trade.p), exact(trade.v)
    return _is_valid(trade)


def _is_valid(trade: Trade) -> bool:
    """Return whether a parsed trade is valid; convert its integers to exact decimals."""
    p: Any = trade.p
    v: Any = trade.v
    if type(p) is int:
        p = trade.p = exact(p)
    if type(v) is int:
        v = trade.v = exact(v)
    if not (type(p) is Decimal is type(v) and FIRST_MS <= trade.t < END_MS):
        return False
    if ZERO < p < SMALL and ZERO <= v < SMALL:
        return True
    return ZERO < p < LIMIT and ZERO <= v < LIMIT and EXACT.multiply(p, v) < LIMIT


def _decode_each(key: bytes | None, value: bytes, feed: str, error: Exception) -> Parsed:
    """Decode each trade on its own, so that an invalid one does not reject the others."""
    raw = None
    if not isinstance(error, msgspec.ValidationError) or _IN_A_TRADE in str(error):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raw = _decode_raw(value)
    if not isinstance(raw, _RawTrades):
        detail = f"not a message of {STOCKS_TOPIC}: {error}"[:MAX_DETAIL]
        raise MessageRejectedError("schema", detail) from None
    message = Trades(raw.symbol, raw.feed, raw.source, raw.connection, raw.received_at, [])
    _check_envelope(message, key, feed)
    trades: list[tuple[int, Trade]] = []
    rejected: dict[str, tuple[str, list[int]]] = {}
    for index, part in enumerate(raw.trades):
        try:
            trades.append((index, _decode_trade(part)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
            detail = f"a trade is malformed: {bad}"[:MAX_DETAIL]
            rejected.setdefault("schema", (detail, []))[1].append(index)
    return _keep_valid(message, trades, rejected)
