"""Finnhub's WebSocket frames, parsed: pure, and no frame can make it fail.

A trade that is malformed or out of range is refused on its own; the other trades of its frame are
kept. Numbers become decimals with all the digits that were sent.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from app.contracts import MAX_DETAIL, Rejection, Trade, conditions_of, in_range
from app.market.symbols import is_symbol

MAX_FRAME_BYTES = 5 * 1024 * 1024
_MAX_CODES_LENGTH = 1_000
_TEXT_NUMBER = re.compile(rb'"[pv]"\s*:\s*"')


class Arrived(NamedTuple):
    """A trade as it came, its place in the frame, and what it is known by but for its repeats."""

    i: int
    symbol: str
    trade: Trade
    identity: tuple[str, int, Decimal, Decimal, tuple[str, ...]]


class TradeFrame(NamedTuple):
    """The trades of a frame that can be taken, in their order, and why others cannot."""

    arrived: list[Arrived]
    refusals: list[Rejection]
    size: int
    """How many trades the frame held, refused ones included."""


class Ping(NamedTuple):
    """The server says that it is there."""


class ErrorFrame(NamedTuple):
    """The server complains; it does not say about which symbol."""

    msg: str


class OtherFrame(NamedTuple):
    """A kind of frame that this feed does not ask for."""

    type: str


class RefusedFrame(NamedTuple):
    """Nothing of the frame can be taken."""

    refusal: Rejection


Frame = TradeFrame | Ping | ErrorFrame | OtherFrame | RefusedFrame


class _Row(Struct, gc=False):
    s: str
    t: int
    p: Decimal
    v: Decimal
    c: list[str] | None = None


class _TradeFrame(Struct, tag_field="type", tag="trade"):
    data: list[_Row]


class _Ping(Struct, tag_field="type", tag="ping"):
    pass


class _Error(Struct, tag_field="type", tag="error"):
    msg: str = ""


_decode = msgspec.json.Decoder(_TradeFrame | _Ping | _Error).decode


def parse_frame(raw: bytes) -> Frame:
    """What `raw`, one WebSocket message, says."""
    if len(raw) > MAX_FRAME_BYTES:
        return _refused(f"a frame of {len(raw)} bytes is larger than {MAX_FRAME_BYTES}")
    try:
        frame = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError):
        return _parse_slowly(raw)
    if isinstance(frame, _TradeFrame):
        if _TEXT_NUMBER.search(raw):
            return _parse_slowly(raw)
        return _trade_frame(list(enumerate(frame.data)), {}, len(frame.data))
    return Ping() if isinstance(frame, _Ping) else ErrorFrame(frame.msg)


def _parse_slowly(raw: bytes) -> Frame:
    """Look at each trade on its own; also reads NaN and Infinity, which are no JSON."""
    try:
        frame = json.loads(
            raw.decode(), parse_float=_decimal, parse_int=_integer, parse_constant=_NotANumber
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        return _refused(f"the frame is not JSON: {error}"[:MAX_DETAIL])
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        return _refused("the frame is not an object with a type")
    if frame["type"] == "error":
        return ErrorFrame(str(frame.get("msg", "")))
    if frame["type"] != "trade":
        return OtherFrame(frame["type"])
    if not isinstance(frame.get("data"), list):
        return _refused("the frame's data is not a list of trades")
    rows: list[tuple[int, _Row]] = []
    refused: dict[str, tuple[str, list[int]]] = {}
    for place, item in enumerate(frame["data"]):
        try:
            rows.append((place, _row(item)))
        except ValueError as error:
            detail = f"a trade is malformed: {error}"[:MAX_DETAIL]
            refused.setdefault("schema", (detail, []))[1].append(place)
    return _trade_frame(rows, refused, len(frame["data"]))


def _integer(text: str) -> int | Decimal | _NotANumber:
    """Python reads no int of some thousand digits; one trade's must not refuse the frame."""
    return int(text) if len(text) <= 20 else _decimal(text)


def _decimal(text: str) -> Decimal | _NotANumber:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return _NotANumber(text)


class _NotANumber:
    """Stands for NaN, Infinity and what has no value; no field takes it."""

    def __init__(self, name: str) -> None:
        self.name = name


def _row(item: Any) -> _Row:
    if isinstance(item, dict):
        for name in ("p", "v"):
            if isinstance(item.get(name), str | _NotANumber):
                raise ValueError(f"{name} is not a number")
    return msgspec.convert(item, _Row)


def _trade_frame(
    rows: list[tuple[int, _Row]], refused: dict[str, tuple[str, list[int]]], size: int
) -> TradeFrame:
    arrived = []
    for place, row in rows:
        trade = Trade(row.t, row.p, row.v, row.c, i=place)
        reason = _wrong(row, trade)
        if reason is None:
            identity = (row.s, row.t, trade.p, trade.v, conditions_of(row.c))
            trade.p, trade.v = row.p, row.v  # Kafka gets the digits that were sent
            arrived.append(Arrived(place, row.s, trade, identity))
        else:
            kind, detail = reason
            refused.setdefault(kind, (detail, []))[1].append(place)
    refusals = [Rejection(kind, detail, tuple(at)) for kind, (detail, at) in refused.items()]
    return TradeFrame(arrived, refusals, size)


def _wrong(row: _Row, trade: Trade) -> tuple[str, str] | None:
    """Why the trade cannot be taken; rounds price and size of `trade` to 12 decimals."""
    if not is_symbol(row.s):
        return "schema", f"{row.s[:48]!r} is not a symbol"
    if row.c and sum(map(len, row.c)) + len(row.c) > _MAX_CODES_LENGTH:
        return "schema", "the trade has more conditions than there can be"
    if not in_range(trade):
        return "range", f"price {row.p}, size {row.v} or time {row.t} is out of range"[:MAX_DETAIL]
    return None


def _refused(detail: str) -> RefusedFrame:
    return RefusedFrame(Rejection("schema", detail))
