"""The messages that the parts of Tickhouse promise each other, and the parser of `stocks-topic`.

Values are JSON; numbers are JSON numbers with all their digits. The JSON Schemas under
`docs/contracts/` are generated from these classes (`make contracts`).
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from app.market.sessions import END_MS, FIRST_MS

SCHEMA_VERSION = 1

STOCKS_TOPIC = "stocks-topic"
CANDLES_TOPIC = "candles-1m"
LIVE_TOPIC = "candles-live"
REJECTED_TOPIC = "trades-rejected"

MAX_MESSAGE_BYTES = 256 * 1024
"""Trades of one frame that would be larger go into several messages."""
PRICE_DECIMALS = 12
NOTIONAL_DECIMALS = 18
LIMIT = Decimal(10) ** 16
"""Prices, sizes and notionals with more than 16 digits before the point are out of range."""

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""Arithmetic on prices and sizes: wide enough that no sum or product of theirs is ever rounded."""
MAX_REMEMBERED = 50_000
_SMALL = Decimal(10) ** 8
"""The product of two numbers below it is in range."""
_small_prices: dict[Decimal, Decimal] = {}
_small_sizes: dict[Decimal, Decimal] = {}
_ZERO = Decimal(0)
_PRICE_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)
NOTIONAL_STEP = Decimal(1).scaleb(-NOTIONAL_DECIMALS)

UnixMs = Annotated[int, Meta(description="UNIX milliseconds, UTC")]
Symbol = Annotated[str, Meta(description="also the key of the message")]
FeedName = Annotated[Literal["live", "simulated", "replay"], Meta(description="where it came from")]
Source = Annotated[str, Meta(min_length=1, description="a producer's stable name, never shared")]


class Trade(Struct, gc=False):
    """One print, in Finnhub's own words, with its place in the feed."""

    t: UnixMs
    p: Annotated[Decimal, Meta(description="price")]
    v: Annotated[Decimal, Meta(description="size; 0 is a price update, not a trade")]
    c: Annotated[list[str] | None, Meta(description="sale conditions, Finnhub's codes")] = None
    frame: Annotated[int, Meta(description="number of the frame in its connection")] = 0
    i: Annotated[int, Meta(description="place in the frame")] = 0
    k: Annotated[
        int, Meta(description="how often this connection had already sent the same s, t, p, v, c")
    ] = 0


class Trades(Struct, tag_field="type", tag="trades", gc=False):
    """One symbol's trades of one frame (or of several frames of one second)."""

    symbol: Symbol
    feed: FeedName
    source: Source
    connection: Annotated[str, Meta(description="the connection the frame came through")]
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
    dark_since: Annotated[
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
    interval: Literal["1m", "5m", "15m", "1h", "1d"]
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


class Rejected(Struct, gc=False):
    """What was refused, where it lies, why, and its first 64 KiB."""

    stage: Literal["feed", "candles"]
    reason: Annotated[str, Meta(description="schema, key, feed, range, future, late")]
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
    connection: str
    received_at: int
    trades: list[msgspec.Raw]


_decode = msgspec.json.Decoder(Message).decode
_decode_raw = msgspec.json.Decoder(_RawTrades | Quote | Watermark).decode
_decode_trade = msgspec.json.Decoder(Trade).decode
_decode_rejected = msgspec.json.Decoder(Rejected).decode
_decode_candle = msgspec.json.Decoder(Candle).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

_RANGE = (
    "price must be above 0 and size at least 0, they and their product with at most 16 digits "
    "before the point, and the time within 1990 to 2050"
)
_TEXT_NUMBER = re.compile(rb'"(?:p|v|c|d|dp|h|l|o|pc)"\s*:\s*"')


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
        return _decode_slowly(key, value, feed, error)
    if _may_hold_text_number(value, message) and _TEXT_NUMBER.search(value):
        return _decode_slowly(key, value, feed, ValueError("a number is written as a text"))
    _check_envelope(message, key, feed)
    if type(message) is not Trades or all(map(in_range, message.trades)):
        return Parsed(message, [], None)
    return _keep(message, list(enumerate(message.trades)), {})


def _may_hold_text_number(value: bytes, message: Message) -> bool:
    """A cheap look before the thorough one; msgspec takes `"1.5"` for a number, we do not."""
    return (
        type(message) is not Trades
        or b'"p":"' in value
        or b'"v":"' in value
        or any(space in value for space in (b" ", b"\n", b"\t", b"\r"))
    )


def _check_envelope(message: Message, key: bytes | None, feed: str) -> None:
    if key is None:
        raise RefusedMessage("key", "the message has no key; it must be the symbol")
    if key != message.symbol.encode():
        raise RefusedMessage(
            "key", f"the key {key[:64]!r} is not the message's symbol {message.symbol[:64]!r}"
        )
    if not message.symbol:
        raise RefusedMessage("key", "the symbol is empty")
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


def _check_watermark(message: Watermark) -> None:
    for t in (message.t, message.minute_start, message.dark_since):
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
            if not (number.is_finite() and -LIMIT < number < LIMIT):
                raise RefusedMessage("range", f"the quote's {name} is out of range")
            setattr(message, name, rounded(number))


def _keep(
    message: Trades, trades: list[tuple[int, Trade]], refused: dict[str, tuple[str, list[int]]]
) -> Parsed:
    """`message` with those of `trades` (place, trade) that are in range."""
    kept = []
    for place, trade in trades:
        if in_range(trade):
            kept.append((place, trade))
        else:
            refused.setdefault("range", (_RANGE, []))[1].append(place)
    message.trades = [trade for _, trade in kept]
    refusals = [Refusal(reason, text, tuple(at)) for reason, (text, at) in refused.items()]
    return Parsed(message, refusals, tuple(place for place, _ in kept))


def in_range(trade: Trade) -> bool:
    """Whether price, size and time are in range; rounds price and size to 12 decimals."""
    p, v = _small_prices.get(trade.p), _small_sizes.get(trade.v)
    if p is None or v is None:
        return _check_range(trade)
    trade.p, trade.v = p, v
    return FIRST_MS <= trade.t < END_MS


def _check_range(trade: Trade) -> bool:
    p, v = trade.p, trade.v
    try:
        if not (_ZERO < p < LIMIT and _ZERO <= v < LIMIT and FIRST_MS <= trade.t < END_MS):
            return False
        trade.p, trade.v = rounded(p), rounded(v)
        if trade.p <= _ZERO or EXACT.multiply(trade.p, trade.v) >= LIMIT:
            return False
    except InvalidOperation:  # NaN
        return False
    _remember(_small_prices, p, trade.p)
    _remember(_small_sizes, v, trade.v)
    return True


def _remember(known: dict[Decimal, Decimal], number: Decimal, kept: Decimal) -> None:
    """Prices and sizes come again and again: what was checked once need not be checked again."""
    if kept < _SMALL:
        if len(known) >= MAX_REMEMBERED:
            known.clear()
        known[number] = kept


def rounded(number: Decimal) -> Decimal:
    """`number` rounded half-even to 12 decimals, if it has more."""
    step = EXACT.quantize(number, _PRICE_STEP)
    return number if step == number else step


def notional(p: Decimal, v: Decimal) -> Decimal:
    """Price times size, rounded half-even to 18 decimals."""
    return EXACT.quantize(EXACT.multiply(p, v), NOTIONAL_STEP)


def conditions_of(c: list[str] | None) -> tuple[str, ...]:
    """The conditions of a trade, normalised: null, [] and absent are one, codes are sorted."""
    return tuple(sorted(c)) if c else ()


def _decode_slowly(key: bytes | None, value: bytes, feed: str, error: Exception) -> Parsed:
    """Look at each trade on its own, so that one bad trade does not take others along."""
    try:
        raw = _decode_raw(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedMessage("schema", f"not a message of {STOCKS_TOPIC}: {error}") from None
    if not isinstance(raw, _RawTrades):
        if _TEXT_NUMBER.search(value):
            raise RefusedMessage("schema", "a number is written as a text")
        _check_envelope(raw, key, feed)
        return Parsed(raw, [], None)
    message = Trades(raw.symbol, raw.feed, raw.source, raw.connection, raw.received_at, [])
    _check_envelope(message, key, feed)
    trades: list[tuple[int, Trade]] = []
    refused: dict[str, tuple[str, list[int]]] = {}
    for place, part in enumerate(raw.trades):
        try:
            trades.append((place, _trade(bytes(part))))
        except RefusedMessage as bad:
            refused.setdefault("schema", (bad.refusal.detail, []))[1].append(place)
    return _keep(message, trades, refused)


def _trade(part: bytes) -> Trade:
    if _TEXT_NUMBER.search(part):
        raise RefusedMessage("schema", "a number of the trade is written as a text")
    try:
        return _decode_trade(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedMessage("schema", f"a trade is malformed: {error}") from None
