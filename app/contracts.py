"""The messages that Tickhouse's components exchange.

Values are JSON, with numbers written as JSON numbers with all their digits. `app.message_parser`
parses the messages of `stocks-topic`. The JSON Schemas in `docs/contracts/` are generated from
these classes (`make contracts`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from app.market.symbols import MAX_SYMBOL_LENGTH, SYMBOL_PATTERN

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
"""The trades of a frame are split into several messages rather than exceed this size."""
FUTURE_MS = 60_000
"""A trade or quote is rejected if its time is further ahead of its arrival than this."""
MAX_DETAIL = 300
"""Maximum length of a rejection's detail, because msgspec quotes invalid values in full."""
MAX_NAME = 255
"""Maximum length of the name of a source or a connection."""
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
"""`decode` checks the pattern once per symbol; msgspec would match it for each message."""
FeedName = Annotated[Literal["live", "simulated", "replay"], Meta(description="where it came from")]
NAME_PATTERN = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"
_ONE_LINE: dict[str, Any] = {"pattern": f"^{NAME_PATTERN}$"}
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
    """A print with Finnhub's field names, and its position in the feed."""

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
    """Trades of one symbol from one frame (or from several frames of the same second)."""

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
    """An OHLCV candle.

    Upsert on (symbol, interval, window_start), keeping the highest revision. Volume is the feed's
    own, not the consolidated volume of all venues.
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
    covered_ms: Annotated[int | None, Meta(description="ms the feed was connected; null: unknown")]
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
    indices: Annotated[list[int] | None, Meta(description="of trades; null: the entire message")]
    size: Annotated[int, Meta(description="bytes of the message's value")]
    sha256: str
    payload: Annotated[str | None, Meta(description="base64 of 64 KiB, once per message")]
    topic_id: Annotated[str | None, Meta(description="Kafka's id of the topic")] = msgspec.field(
        name="_topic_id", default=None
    )


class Rejection(NamedTuple):
    """Why a message, or some of its trades, were rejected."""

    reason: str
    detail: str
    indices: tuple[int, ...] | None = None


_decode_rejection_record = msgspec.json.Decoder(RejectionRecord).decode
_decode_candle = msgspec.json.Decoder(Candle).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode(message: Message | Candle | RejectionRecord) -> bytes:
    """Serialize a message as JSON, with decimals as numbers with all their digits."""
    return _encode(message)


def decode_candle(value: bytes) -> Candle:
    """Parse a candle.

    :raises msgspec.DecodeError: `value` is not a candle.
    """
    return _decode_candle(value)


def decode_rejection(value: bytes) -> RejectionRecord:
    """Parse a rejection record.

    :raises msgspec.DecodeError: `value` is not a rejection record.
    """
    return _decode_rejection_record(value)


def conditions_of(c: list[str] | None) -> tuple[str, ...]:
    """Return the normalized conditions of a trade: sorted codes; null, [] and absent are equal."""
    return tuple(sorted(c)) if c else ()
