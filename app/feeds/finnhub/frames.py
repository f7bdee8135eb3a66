"""Parse Finnhub's WebSocket frames: pure functions that never raise.

A trade that is malformed or out of range is rejected on its own; the other trades of its frame are
kept. Numbers become decimals with all digits that were sent.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

from app.contracts import (
    MAX_DETAIL,
    Rejection,
    Trade,
    conditions_of,
)
from app.feeds.vendor import (
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    IgnoredFrame,
    ParsedTrade,
    RejectedFrame,
    TradesFrame,
)
from app.market.symbols import is_symbol
from app.message_parser import in_range

MAX_FRAME_BYTES = 5 * 1024 * 1024
_MAX_CODES_LENGTH = 1_000
_TEXT_NUMBER = re.compile(rb'"[pv]"\s*:\s*"')


class _Row(Struct, gc=False):
    s: str
    t: int
    p: Decimal
    v: Decimal
    c: list[str] | None = None


class _WireTrades(Struct, tag_field="type", tag="trade"):
    data: list[_Row]


class _Ping(Struct, tag_field="type", tag="ping"):
    pass


class _Error(Struct, tag_field="type", tag="error"):
    msg: str = ""


_decode = msgspec.json.Decoder(_WireTrades | _Ping | _Error).decode


def parse_frame(raw: bytes) -> Frame:
    """Parse `raw`, one WebSocket message."""
    if len(raw) > MAX_FRAME_BYTES:
        return _rejected_frame(f"a frame of {len(raw)} bytes is larger than {MAX_FRAME_BYTES}")
    try:
        frame = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError):
        return _parse_row_by_row(raw)
    if isinstance(frame, _WireTrades):
        if _TEXT_NUMBER.search(raw):
            return _parse_row_by_row(raw)
        return _trade_frame(list(enumerate(frame.data)), {}, len(frame.data))
    return HeartbeatFrame() if isinstance(frame, _Ping) else ErrorFrame(frame.msg)


def _parse_row_by_row(raw: bytes) -> Frame:
    """Parse each trade on its own; accept NaN and Infinity, which are not valid JSON."""
    try:
        frame = json.loads(
            raw.decode(), parse_float=_decimal, parse_int=_integer, parse_constant=_NotANumber
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        return _rejected_frame(f"the frame is not JSON: {error}"[:MAX_DETAIL])
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        return _rejected_frame("the frame is not an object with a type")
    if frame["type"] == "error":
        return ErrorFrame(str(frame.get("msg", "")))
    if frame["type"] != "trade":
        return IgnoredFrame(frame["type"])
    if not isinstance(frame.get("data"), list):
        return _rejected_frame("the frame's data is not a list of trades")
    rows: list[tuple[int, _Row]] = []
    rejected: dict[str, tuple[str, list[int]]] = {}
    for index, item in enumerate(frame["data"]):
        try:
            rows.append((index, _row(item)))
        except ValueError as error:
            detail = f"a trade is malformed: {error}"[:MAX_DETAIL]
            rejected.setdefault("schema", (detail, []))[1].append(index)
    return _trade_frame(rows, rejected, len(frame["data"]))


def _integer(text: str) -> int | Decimal | _NotANumber:
    """Parse an integer of any length, so that Python's limit on digits does not reject a frame."""
    return int(text) if len(text) <= 20 else _decimal(text)


def _decimal(text: str) -> Decimal | _NotANumber:
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent is out of bounds
        return _NotANumber(text)


class _NotANumber:
    """Placeholder for NaN, Infinity and numbers out of range; no field accepts it."""

    def __init__(self, name: str) -> None:
        self.name = name


def _row(item: Any) -> _Row:
    if isinstance(item, dict):
        for name in ("p", "v"):
            if isinstance(item.get(name), str | _NotANumber):
                raise ValueError(f"{name} is not a number")
    return msgspec.convert(item, _Row)


def _trade_frame(
    rows: list[tuple[int, _Row]], rejected: dict[str, tuple[str, list[int]]], size: int
) -> TradesFrame:
    trades = []
    for index, row in rows:
        trade = Trade(row.t, row.p, row.v, row.c, i=index)
        reason = _rejection_reason(row, trade)
        if reason is None:
            identity = (row.s, row.t, trade.p, trade.v, conditions_of(row.c))
            trade.p, trade.v = row.p, row.v  # the message to Kafka has the digits that were sent
            trades.append(ParsedTrade(row.s, trade, identity))
        else:
            kind, detail = reason
            rejected.setdefault(kind, (detail, []))[1].append(index)
    rejections = [Rejection(kind, detail, tuple(at)) for kind, (detail, at) in rejected.items()]
    return TradesFrame(trades, rejections, size)


def _rejection_reason(row: _Row, trade: Trade) -> tuple[str, str] | None:
    """Return why a trade is rejected, or None; round its price and size to 12 decimals."""
    if not is_symbol(row.s):
        return "schema", f"{row.s[:48]!r} is not a symbol"
    if row.c and sum(map(len, row.c)) + len(row.c) > _MAX_CODES_LENGTH:
        return "schema", "the trade has more conditions than there can be"
    if not in_range(trade):
        return "range", f"price {row.p}, size {row.v} or time {row.t} is out of range"[:MAX_DETAIL]
    return None


def _rejected_frame(detail: str) -> RejectedFrame:
    return RejectedFrame(Rejection("schema", detail))
