"""Convert messages to the rows that the archive writes: pure functions of a message.

A row is a tuple with the dataset's columns in order. Columns that are constant for an object (the
incarnation, the partition) are added when its table is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import msgspec

from app.contracts import (
    Candle,
    Quote,
    RejectionRecord,
    Trades,
    Watermark,
    conditions_of,
    decode_candle,
    decode_rejection,
)
from app.exact import notional
from app.lake import DATASETS, RENAMED
from app.market.sessions import END_MS, FIRST_MS, SessionOf, session_of
from app.message_parser import MessageRejectedError, decode

MINUTE_MS = 60_000
OBJECT_COLUMNS = ("_topic_id", "_incarnation", "_partition")
"""Columns that are constant for an object."""
ROW_COLUMNS = {
    dataset: tuple(name for name in schema.names if name not in OBJECT_COLUMNS)
    for dataset, schema in DATASETS.items()
}
"""The columns of each dataset's rows, in the order of the tuples. The last three are the position
in Kafka and its timestamp: `_offset`, `_index`, `_kafka_time`."""

Row = tuple[Any, ...]


class ConsumedRecord(Protocol):
    """A Kafka record as Quix passes it to a sink (`SinkItem`)."""

    key: Any
    value: Any
    timestamp: int
    offset: int


class MessageRows(NamedTuple):
    """The rows of one message, and the number of its rejected trades by reason."""

    dataset: str
    rows: list[Row]
    rejected: dict[str, int]


Converter = Callable[[ConsumedRecord, str], MessageRows]
"""Converts a record, given the namespace's feed. Raises `MessageRejectedError`."""


def stocks_rows(record: ConsumedRecord, feed: str) -> MessageRows:
    """Convert a message of `stocks-topic`: trades, a quote, or a watermark.

    :raises MessageRejectedError: the parser rejects the message; the candles topology records that.
    """
    parsed = decode(record.key, record.value, feed)
    rejected = {rejection.reason: len(rejection.indices or ()) for rejection in parsed.rejections}
    message = parsed.message
    if isinstance(message, Trades):
        return MessageRows("trades", _trade_rows(message, parsed.original_index, record), rejected)
    if isinstance(message, Quote):
        return MessageRows("quotes", [_quote_row(message, record)], rejected)
    return MessageRows("coverage", [_coverage_row(message, record)], rejected)


def candle_rows(record: ConsumedRecord, feed: str) -> MessageRows:
    """Convert a final or revised candle of any interval; partial candles produce no rows.

    :raises MessageRejectedError: the message is not a candle of this feed, or its window is out of
        range.
    """
    candle = _decoded(decode_candle, record, "candle")
    if candle.feed != feed:
        raise MessageRejectedError("feed", f"the candle is of feed {candle.feed}, not {feed}")
    if not FIRST_MS <= candle.window_start < candle.window_end <= END_MS:
        raise MessageRejectedError("range", "the candle's window is not within 1990 to 2050")
    if candle.revision is None:
        return MessageRows("candles", [], {})
    return MessageRows("candles", [(*_candle_fields(candle), *_position(record))], {})


def rejection_rows(record: ConsumedRecord, feed: str) -> MessageRows:
    """Convert a rejection record.

    :raises MessageRejectedError: it is not a rejection record of this feed.
    """
    rejection = _decoded(decode_rejection, record, "rejection")
    if rejection.feed != feed:
        raise MessageRejectedError("feed", f"the rejection is of feed {rejection.feed}, not {feed}")
    return MessageRows("rejected", [_rejection_row(rejection, record)], {})


def _decoded(decoder: Callable[[bytes], Any], record: ConsumedRecord, kind: str) -> Any:
    if record.value is None:
        raise MessageRejectedError("schema", "the message has no value")
    try:
        return decoder(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRejectedError("schema", f"not a {kind}: {error}") from None


def _position(record: ConsumedRecord) -> Row:
    return (record.offset, 0, record.timestamp)


def _trade_rows(
    message: Trades, index_of: Callable[[int], int], record: ConsumedRecord
) -> list[Row]:
    symbol, feed, offset, kafka_time = message.symbol, message.feed, record.offset, record.timestamp
    origin = (symbol, feed, message.source, message.connection, message.received_at)
    rows = []
    for number, trade in enumerate(message.trades):
        session, session_date = _session(symbol, feed, trade.t // MINUTE_MS)
        rows.append(
            (
                *origin,
                trade.t,
                trade.p,
                trade.v,
                notional(trade.p, trade.v),
                ",".join(conditions_of(trade.c)),
                session,
                session_date,
                trade.frame,
                trade.i,
                trade.k,
                offset,
                index_of(number),
                kafka_time,
            )
        )
    return rows


def _quote_row(quote: Quote, record: ConsumedRecord) -> Row:
    t = quote.t * 1000
    session = _session(quote.symbol, quote.feed, t // MINUTE_MS)
    prices = (quote.c, quote.d, quote.dp, quote.h, quote.l, quote.o, quote.pc)
    return (*_origin(quote), quote.received_at, t, *prices, *session, *_position(record))


def _coverage_row(watermark: Watermark, record: ConsumedRecord) -> Row:
    values = (
        watermark.received_at,
        watermark.t,
        watermark.minute_start,
        watermark.covered_ms,
        watermark.gap_since,
    )
    return (*_origin(watermark), *values, *_position(record))


def _origin(message: Quote | Watermark) -> Row:
    return (message.symbol, message.feed, message.source)


def _rejection_row(rejection: RejectionRecord, record: ConsumedRecord) -> Row:
    indices = rejection.indices
    return (
        rejection.stage,
        rejection.reason,
        rejection.detail,
        rejection.feed,
        rejection.topic_id,
        rejection.topic,
        rejection.partition,
        rejection.offset,
        None if indices is None else ",".join(map(str, indices)),
        rejection.size,
        rejection.sha256,
        rejection.payload,
        *_position(record),
    )


_CANDLE_FIELD = {column: field for field, column in RENAMED["candles"].items()}
_candle_fields: Callable[[Candle], Row] = attrgetter(
    *(_CANDLE_FIELD.get(column, column) for column in ROW_COLUMNS["candles"][:-3])
)


@lru_cache(maxsize=65_536)
def _session(symbol: str, feed: str, minute: int) -> SessionOf:
    return session_of(symbol, feed, minute * MINUTE_MS)
