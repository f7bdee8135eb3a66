"""The messages that the components of Tickhouse exchange, and the parser of `stocks-topic`.

Values are JSON; numbers are JSON numbers with all their digits. The JSON Schemas under
`docs/contracts/` are generated from these classes (`make contracts`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from app.exact import EXACT, LIMIT, SMALL, ZERO, exact, exact_number
from app.market.sessions import END_MS, FIRST_MS
from app.market.symbols import MAX_SYMBOL_LENGTH, SYMBOL_PATTERN, SYMBOL_RULE, is_symbol

SCHEMA_VERSION = 1

Interval = Literal["1m", "5m", "15m", "1h", "1d"]

STOCKS_TOPIC = "stocks-topic"
CANDLES_TOPIC = "candles-1m"
ROLLUP_TOPICS: dict[Interval, str] = {
    "5m": "candles-5m",
    "15m": "candles-15m",
    "1h": "candles-1h",
    "1d": "candles-1d",
}
"""The topics of rollups, shortest interval first."""
LIVE_TOPIC = "candles-live"
REJECTED_TOPIC = "trades-rejected"

MAX_MESSAGE_BYTES = 256 * 1024
"""Trades of a frame that would exceed this are split into several messages."""
FUTURE_MS = 60_000
"""A trade or quote whose time is further ahead of its arrival is rejected."""
MAX_DETAIL = 300
"""Characters of the detail of a rejection; msgspec quotes an invalid value, however long it is."""
MAX_NAME = 255
"""Characters in the name of a source or a connection."""
if TYPE_CHECKING:
    ExactNumber = Decimal
else:
    ExactNumber = Annotated[Any, Meta(extra_json_schema={"type": "number"})]
    """Any value to msgspec. `decode`, the only reader of trades, converts it to a cached Decimal;
    parsing then takes 0.55 µs a trade instead of 1.3."""

UnixMs = Annotated[int, Meta(description="UNIX milliseconds, UTC")]
Symbol = Annotated[
    str,
    Meta(
        description="also the key of the message",
        extra_json_schema={
            "maxLength": MAX_SYMBOL_LENGTH,
            "pattern": f"^{SYMBOL_PATTERN}$",
        },
    ),
]
"""Checked by `decode` once per symbol; msgspec would match the pattern for each message."""
FeedName = Annotated[Literal["live", "simulated", "replay"], Meta(description="where it came from")]
_NAME_PATTERN = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"
_ONE_LINE: dict[str, Any] = {"pattern": f"^{_NAME_PATTERN}$"}
Source = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        description="a producer's stable name, never shared",
        extra_json_schema=_ONE_LINE,
    ),
]
Connection = Annotated[
    str,
    Meta(
        max_length=MAX_NAME,
        description="the connection the frame came through",
        extra_json_schema=_ONE_LINE,
    ),
]


class Trade(Struct, gc=False):
    """One print, with Finnhub's field names, and its position in the feed."""

    t: UnixMs
    p: Annotated[ExactNumber, Meta(description="price")]
    v: Annotated[ExactNumber, Meta(description="size; 0 is a price update, not a trade")]
    c: Annotated[list[str] | None, Meta(description="sale conditions, Finnhub's codes")] = None
    frame: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="number of the frame in its connection")
    ] = 0
    i: Annotated[int, Meta(ge=0, le=2**31 - 1, description="index in the frame")] = 0
    k: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31 - 1,
            description="how often this connection had already sent the same s, t, p, v, c",
        ),
    ] = 0


class Trades(Struct, tag_field="type", tag="trades", gc=False):
    """Trades of one symbol in one frame (or in several frames of one second)."""

    symbol: Symbol
    feed: FeedName
    source: Source
    connection: Connection
    received_at: Annotated[int, Meta(description="UNIX ms at which the last frame arrived")]
    trades: list[Trade]


class Quote(Struct, tag_field="type", tag="quote", gc=False):
    """A REST quote, with Finnhub's field names."""

    symbol: Symbol
    feed: FeedName
    source: Source
    received_at: UnixMs
    c: Annotated[Decimal, Meta(description="current price")]
    d: Annotated[Decimal | None, Meta(description="change since the previous close")]
    dp: Annotated[Decimal | None, Meta(description="change, percent")]
    h: Annotated[Decimal | None, Meta(description="high of the day")]
    l: Annotated[Decimal | None, Meta(description="low of the day")]  # noqa: E741
    o: Annotated[Decimal | None, Meta(description="open of the day")]
    pc: Annotated[Decimal | None, Meta(description="previous close")]
    t: Annotated[int, Meta(description="UNIX seconds")]


class Watermark(Struct, tag_field="type", tag="watermark", gc=False):
    """From here on the source sends nothing older than `t`, except what the feed reports late."""

    symbol: Symbol
    feed: FeedName
    source: Source
    received_at: UnixMs
    t: UnixMs
    minute_start: Annotated[
        int | None, Meta(description="UNIX ms of the minute that covered_ms is about")
    ] = None
    covered_ms: (
        Annotated[
            int,
            Meta(ge=0, le=60_000, description="ms of the minute the feed was connected, so far"),
        ]
        | None
    ) = None
    gap_since: Annotated[
        int | None,
        Meta(description="UNIX ms: a gap, no minute from here up to minute_start is covered"),
    ] = None


Message = Trades | Quote | Watermark


class Candle(Struct, gc=False):
    """An OHLCV candle. Upsert on (symbol, interval, window_start): the highest revision wins.

    Volume is the feed's own, never the consolidated volume of all venues.
    """

    candle_id: Annotated[str, Meta(description="symbol|interval|window_start")]
    symbol: Symbol
    feed: FeedName
    interval: Interval
    window_start: Annotated[int, Meta(description="UNIX ms; the window is [start, end)")]
    window_end: UnixMs
    session: Literal["pre", "regular", "post", "closed", "continuous"]
    session_date: Annotated[str, Meta(description="the exchange's trading day, ISO date")]
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    open_time: UnixMs
    high_time: UnixMs
    low_time: UnixMs
    close_time: UnixMs
    volume: Annotated[Decimal, Meta(description="exact sum; the feed's own, not consolidated")]
    notional: Annotated[Decimal, Meta(description="exact sum of price times size")]
    vwap: Annotated[float | None, Meta(description="notional / volume, null at volume 0")]
    trade_count: int
    eligible_count: Annotated[int, Meta(description="trades that may set open and close")]
    odd_lot_count: int
    odd_lot_volume: Decimal
    zero_volume_count: Annotated[int, Meta(description="price updates with size 0")]
    price_source: Annotated[
        Literal["last", "high_low", "ineligible", "quote"],
        Meta(description="the class of trades that open and close come from"),
    ]
    late_count: Annotated[int, Meta(description="trades accepted after the first record")]
    out_of_order_count: Annotated[int, Meta(description="older than the symbol's newest trade")]
    duplicate_count: int
    first_offset: Annotated[int, Meta(description="of the first message in stocks-topic")]
    last_offset: int
    covered_ms: Annotated[int | None, Meta(description="ms the feed was connected; null: untold")]
    revision: Annotated[int | None, Meta(description="0 is the final candle; null: partial")]
    status: Literal["partial", "final", "revised"]
    price_rule: Literal["sip", "all"]
    schema_version: int
    pre_volume: Annotated[
        Decimal | None, Meta(description="of a day's pre-market; null but for 1d of a stock")
    ] = None
    post_volume: Annotated[
        Decimal | None, Meta(description="of a day's post-market; null but for 1d of a stock")
    ] = None


class RejectionRecord(Struct, gc=False):
    """A rejected message: its position, the reason, and its first 64 KiB."""

    stage: Literal["feed", "candles"]
    reason: Annotated[
        str,
        Meta(description="schema, key, feed, range, unsubscribed, future, late, rejected_by_kafka"),
    ]
    detail: Annotated[str, Meta(description="one sentence")]
    feed: FeedName
    topic: str | None
    partition: int | None
    offset: int | None
    indices: Annotated[list[int] | None, Meta(description="places in trades; null: all of it")]
    size: Annotated[int, Meta(description="bytes of the message's value")]
    sha256: str
    payload: Annotated[str | None, Meta(description="base64 of the first 64 KiB, once a message")]
    topic_id: Annotated[str | None, Meta(description="Kafka's id of the topic")] = msgspec.field(
        name="_topic_id", default=None
    )


class Rejection(NamedTuple):
    """Why a message, or some of its trades, are rejected."""

    reason: str
    detail: str
    indices: tuple[int, ...] | None = None


class Parsed(NamedTuple):
    """A message without its rejected trades, and their rejections."""

    message: Message
    rejections: list[Rejection]
    indices: tuple[int, ...] | None
    """The indices of the kept trades in the original message; None when all were kept."""

    def original_index(self, index: int) -> int:
        """The index in the original message of the kept trade `index`."""
        return index if self.indices is None else self.indices[index]


class MessageRejectedError(ValueError):
    """A message that is rejected entirely."""

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
_decode_rejection_record = msgspec.json.Decoder(RejectionRecord).decode
_decode_candle = msgspec.json.Decoder(Candle).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

_RANGE = (
    "price must be above 0 and size at least 0, they and their product with at most 16 digits "
    "before the point, and the time within 1990 to 2050"
)
_IN_A_TRADE = " - at `$.trades["
"""How msgspec locates a violation of the contract in a trade."""
_NAME = re.compile(_NAME_PATTERN)
_TEXT_NUMBER = re.compile(rb'"(?:c|d|dp|h|l|o|pc)"\s*:\s*"')
"""msgspec accepts `"1.5"` as a Decimal; the contract does not."""


def encode(message: Message | Candle | RejectionRecord) -> bytes:
    """Serialize a message as JSON, decimals as numbers with all their digits."""
    return _encode(message)


def decode_candle(value: bytes) -> Candle:
    """Parse a candle; raises `msgspec.DecodeError` when `value` is not one."""
    return _decode_candle(value)


def decode_rejection(value: bytes) -> RejectionRecord:
    """Parse a rejection record; raises `msgspec.DecodeError` when `value` is not one."""
    return _decode_rejection_record(value)


def decode(key: bytes | None, value: bytes | None, feed: str) -> Parsed:
    """Parse a message; remove invalid trades from it and return their rejections.

    Prices and sizes are rounded half-even to 12 decimals.

    :param feed: the feed of this namespace; a message of another feed is rejected.
    :raises MessageRejectedError: the message is rejected entirely.
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
    if type(message) is not Trades or all(map(_holds, message.trades)):
        return Parsed(message, [], None)
    return _keep(message, list(enumerate(message.trades)), {})


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
    """Raise `MessageRejectedError` for an invalid name; only valid ones, all short, are cached."""
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


def _keep(
    message: Trades, trades: list[tuple[int, Trade]], rejected: dict[str, tuple[str, list[int]]]
) -> Parsed:
    """`message` with the valid ones of `trades` (index, trade), and rejections of the others."""
    kept = []
    for index, trade in trades:
        if _holds(trade):
            kept.append((index, trade))
            continue
        text = [name for name in ("p", "v") if type(getattr(trade, name)) is not Decimal]
        reason, detail = ("schema", f"its {text[0]} is not a number") if text else ("range", _RANGE)
        rejected.setdefault(reason, (detail, []))[1].append(index)
    message.trades = [trade for _, trade in kept]
    rejections = [Rejection(reason, text, tuple(at)) for reason, (text, at) in rejected.items()]
    return Parsed(message, rejections, tuple(index for index, _ in kept))


def in_range(trade: Trade) -> bool:
    """Whether price, size and time are in range; rounds price and size to 12 decimals."""
    if not (trade.p.is_finite() and trade.v.is_finite()):
        return False
    trade.p, trade.v = exact(trade.p), exact(trade.v)
    return _holds(trade)


def _holds(trade: Trade) -> bool:
    """Whether a parsed trade is valid; converts integers to exact decimals."""
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


def conditions_of(c: list[str] | None) -> tuple[str, ...]:
    """The conditions of a trade, normalised: null, [] and absent are one, codes are sorted."""
    return tuple(sorted(c)) if c else ()


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
    return _keep(message, trades, rejected)
