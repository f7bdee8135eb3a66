"""The messages that the parts of Tickhouse promise each other, and the parser of `stocks-topic`.

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
"""Trades of one frame that would be larger go into several messages."""
FUTURE_MS = 60_000
"""A trade or quote stamped further ahead of its arrival than this is rejected."""
MAX_DETAIL = 300
"""Characters of what a record says is wrong; msgspec quotes a wrong value, however long it is."""
MAX_NAME = 255
"""Characters of the name of a source or a connection."""
if TYPE_CHECKING:
    ExactNumber = Decimal
else:
    ExactNumber = Annotated[Any, Meta(extra_json_schema={"type": "number"})]
    """To msgspec it is whatever stands there: `decode`, which alone reads trades, makes the
    Decimal and remembers it; parsing then takes 0.55 µs a trade instead of 1.3."""

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
"""`decode` checks it, once for equal ones: msgspec would look at the pattern for each message."""
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
    """One print, in Finnhub's own words, with its place in the feed."""

    t: UnixMs
    p: Annotated[ExactNumber, Meta(description="price")]
    v: Annotated[ExactNumber, Meta(description="size; 0 is a price update, not a trade")]
    c: Annotated[list[str] | None, Meta(description="sale conditions, Finnhub's codes")] = None
    frame: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="number of the frame in its connection")
    ] = 0
    i: Annotated[int, Meta(ge=0, le=2**31 - 1, description="place in the frame")] = 0
    k: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31 - 1,
            description="how often this connection had already sent the same s, t, p, v, c",
        ),
    ] = 0


class Trades(Struct, tag_field="type", tag="trades", gc=False):
    """One symbol's trades of one frame (or of several frames of one second)."""

    symbol: Symbol
    feed: FeedName
    source: Source
    connection: Connection
    received_at: Annotated[int, Meta(description="UNIX ms at which the last frame arrived")]
    trades: list[Trade]


class Quote(Struct, tag_field="type", tag="quote", gc=False):
    """A REST quote, fields as Finnhub gives them."""

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
    """From here on this source sends nothing older than `t`, but what the feed reports late."""

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
        int | None, Meta(description="UNIX ms since which every minute up to minute_start was dark")
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


class Rejected(Struct, gc=False):
    """What was refused, where it lies, why, and its first 64 KiB."""

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


class Refusal(NamedTuple):
    """Why a message, or some of its trades, cannot be taken."""

    reason: str
    detail: str
    indices: tuple[int, ...] | None = None


class Parsed(NamedTuple):
    """A message as far as it can be taken."""

    message: Message
    refusals: list[Refusal]
    places: tuple[int, ...] | None
    """Where the trades that were kept stood in the message; None when all were kept."""

    def place(self, index: int) -> int:
        """Where the kept trade `index` stood in the message."""
        return index if self.places is None else self.places[index]


class RefusedMessage(ValueError):
    """A message no part of which can be taken."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


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
_decode_rejected = msgspec.json.Decoder(Rejected).decode
_decode_candle = msgspec.json.Decoder(Candle).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

_RANGE = (
    "price must be above 0 and size at least 0, they and their product with at most 16 digits "
    "before the point, and the time within 1990 to 2050"
)
_IN_A_TRADE = " - at `$.trades["
"""msgspec's word of where valid JSON is not of the contract."""
_NAME = re.compile(_NAME_PATTERN)
_TEXT_NUMBER = re.compile(rb'"(?:c|d|dp|h|l|o|pc)"\s*:\s*"')
"""msgspec takes `"1.5"` for a Decimal; we do not."""


def encode(message: Message | Candle | Rejected) -> bytes:
    """The JSON value of a message, decimals as numbers with all their digits."""
    return _encode(message)


def decode_candle(value: bytes) -> Candle:
    """A candle from its JSON value; raises `msgspec.DecodeError` when it is none."""
    return _decode_candle(value)


def decode_rejected(value: bytes) -> Rejected:
    """A rejection record from its JSON value; raises `msgspec.DecodeError` when it is none."""
    return _decode_rejected(value)


def decode(key: bytes | None, value: bytes | None, feed: str) -> Parsed:
    """The message behind `value`, and the refusals of those of its trades that cannot be taken.

    Prices and sizes are rounded half-even to 12 decimals; a refused trade stands in `trades` no
    more.

    :param feed: the feed of this namespace; a message of another is refused.
    :raises RefusedMessage: nothing of the message can be taken.
    """
    if value is None:
        raise RefusedMessage("schema", "the message has no value")
    try:
        message = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _decode_each(key, value, feed, error)
    if type(message) is Quote and _TEXT_NUMBER.search(value):
        raise RefusedMessage("schema", "a number of the quote is written as a text")
    _check_envelope(message, key, feed)
    if type(message) is not Trades or all(map(_holds, message.trades)):
        return Parsed(message, [], None)
    return _keep(message, list(enumerate(message.trades)), {})


def _check_envelope(message: Message, key: bytes | None, feed: str) -> None:
    if key is None:
        raise RefusedMessage("key", "the message has no key; it must be the symbol")
    if key != message.symbol.encode():
        raise RefusedMessage(
            "key", f"the key {key[:64]!r} is not the message's symbol {message.symbol[:64]!r}"
        )
    connection = message.connection if type(message) is Trades else ""
    _check_names(message.symbol, message.source, connection)
    if message.feed != feed:
        raise RefusedMessage(
            "feed", f"the message is of feed {message.feed}, this namespace holds {feed}"
        )
    if not FIRST_MS <= message.received_at < END_MS:
        raise RefusedMessage(
            "range", f"received_at {message.received_at} is not within 1990 to 2050 in UNIX ms"
        )
    if type(message) is Watermark:
        _check_watermark(message)
    elif type(message) is Quote:
        _check_quote(message)


@lru_cache(maxsize=16_384)
def _check_names(symbol: str, source: str, connection: str) -> None:
    """Raise `RefusedMessage` if one is none; only good ones are remembered, which are short."""
    if not is_symbol(symbol):
        raise RefusedMessage("schema", f"{symbol[:64]!r} is not a symbol: that is {SYMBOL_RULE}")
    for kind, name in (("source", source), ("connection", connection)):
        if not _NAME.fullmatch(name):
            raise RefusedMessage("schema", f"the {kind} {name[:64]!r} has a control character")


def _check_watermark(message: Watermark) -> None:
    for t in (message.t, message.minute_start, message.gap_since):
        if t is not None and not FIRST_MS <= t < END_MS:
            raise RefusedMessage("range", f"the time {t} is not within 1990 to 2050 in UNIX ms")
    if message.minute_start is not None and message.minute_start % 60_000:
        raise RefusedMessage("range", f"minute_start {message.minute_start} is no full minute")


def _check_quote(message: Quote) -> None:
    if not 0 <= message.t * 1000 < END_MS:
        raise RefusedMessage("range", f"the quote's t {message.t} is not within UNIX seconds")
    for name in ("c", "d", "dp", "h", "l", "o", "pc"):
        number: Decimal | None = getattr(message, name)
        if number is not None:
            kept = exact_number(number)
            if not -LIMIT < kept < LIMIT:
                raise RefusedMessage("range", f"the quote's {name} is out of range")
            setattr(message, name, kept)


def _keep(
    message: Trades, trades: list[tuple[int, Trade]], refused: dict[str, tuple[str, list[int]]]
) -> Parsed:
    """`message` with those of `trades` (place, trade) that hold."""
    kept = []
    for place, trade in trades:
        if _holds(trade):
            kept.append((place, trade))
            continue
        text = [name for name in ("p", "v") if type(getattr(trade, name)) is not Decimal]
        reason, detail = ("schema", f"its {text[0]} is no number") if text else ("range", _RANGE)
        refused.setdefault(reason, (detail, []))[1].append(place)
    message.trades = [trade for _, trade in kept]
    refusals = [Refusal(reason, text, tuple(at)) for reason, (text, at) in refused.items()]
    return Parsed(message, refusals, tuple(place for place, _ in kept))


def in_range(trade: Trade) -> bool:
    """Whether price, size and time are in range; rounds price and size to 12 decimals."""
    if not (trade.p.is_finite() and trade.v.is_finite()):
        return False
    trade.p, trade.v = exact(trade.p), exact(trade.v)
    return _holds(trade)


def _holds(trade: Trade) -> bool:
    """Whether a trade that JSON held is as it must be; makes exact numbers of integers."""
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
    """Look at each trade on its own, so that one bad trade does not take others along."""
    raw = None
    if not isinstance(error, msgspec.ValidationError) or _IN_A_TRADE in str(error):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raw = _decode_raw(value)
    if not isinstance(raw, _RawTrades):
        detail = f"not a message of {STOCKS_TOPIC}: {error}"[:MAX_DETAIL]
        raise RefusedMessage("schema", detail) from None
    message = Trades(raw.symbol, raw.feed, raw.source, raw.connection, raw.received_at, [])
    _check_envelope(message, key, feed)
    trades: list[tuple[int, Trade]] = []
    refused: dict[str, tuple[str, list[int]]] = {}
    for place, part in enumerate(raw.trades):
        try:
            trades.append((place, _decode_trade(part)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
            detail = f"a trade is malformed: {bad}"[:MAX_DETAIL]
            refused.setdefault("schema", (detail, []))[1].append(place)
    return _keep(message, trades, refused)
