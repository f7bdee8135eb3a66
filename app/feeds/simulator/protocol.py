"""Encode and decode Finnhub's frames and messages, byte for byte as recorded."""

from __future__ import annotations

from random import Random
from typing import Literal

import msgspec
from msgspec import Struct

from app.feeds.simulator.market.prints import Print

MAX_TRADES_PER_FRAME = 10
PING = b'{"type":"ping"}'
TOO_MANY_SYMBOLS = b'{"msg":"Subscribing to too many symbols","type":"error"}'

_SHORT_FRAME_SHARE = 0.3
_DISPLACED_SHARE = 0.15
_MAX_DISPLACED = 12


class TradeFrame(Struct):
    """A frame of trades; `data` comes first, as on the wire."""

    data: list[Print]
    type: str = "trade"


class ClientMessage(Struct):
    """What a client may send: one symbol per message."""

    type: Literal["subscribe", "unsubscribe"]
    symbol: str


_encode = msgspec.json.Encoder().encode
_decode_client = msgspec.json.Decoder(ClientMessage).decode


def client_message(raw: str | bytes) -> ClientMessage:
    """Decode a client's message.

    :raises ValueError: it is not a message of the protocol.
    :raises RecursionError: it is nested too deeply to be one.
    """
    return _decode_client(raw)


def trade_frames(prints: list[Print], rng: Random) -> list[bytes]:
    """Encode `prints` in frames of up to ten, with symbols mixed and slightly out of order.

    Prints of the same symbol and millisecond keep their order and stay together, and a frame only
    ends between them when it is full. So no two frames are equal, which would be a fault of the
    feed, except for full ones of equal prints.
    """
    mixed = _displaced(prints, rng)
    frames = []
    start = 0
    while start < len(mixed):
        size = MAX_TRADES_PER_FRAME
        if rng.random() < _SHORT_FRAME_SHARE:
            size = rng.randint(1, MAX_TRADES_PER_FRAME)
        end, full = start + size, start + MAX_TRADES_PER_FRAME
        while end < min(full, len(mixed)) and _together(mixed[end - 1], mixed[end]):
            end += 1
        frames.append(_encode(TradeFrame(mixed[start:end])))
        start = end
    return frames


def _together(first: Print, other: Print) -> bool:
    return first.t == other.t and first.s == other.s


def _displaced(prints: list[Print], rng: Random) -> list[Print]:
    in_time = sorted(prints, key=lambda trade: trade.t)
    indices: dict[tuple[str, int], float] = {}
    for index, trade in enumerate(in_time):
        if (trade.s, trade.t) not in indices:
            moved = rng.random() < _DISPLACED_SHARE
            shift = rng.uniform(-_MAX_DISPLACED, _MAX_DISPLACED) if moved else 0.0
            indices[trade.s, trade.t] = index + shift
    return sorted(in_time, key=lambda trade: indices[trade.s, trade.t])
