"""Create the frames of a broken server: truncated, malformed, or far too large."""

from __future__ import annotations

from random import Random

import msgspec
from msgspec import Struct

from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.protocol import TradeFrame

_BAD_ROWS = (
    b"null",
    b"[]",
    b"7",
    b'"trade"',
    b'{"c":null,"p":"12.5","s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"p":NaN,"s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"p":-12.5,"s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"p":null,"s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"p":1e400,"s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"s":"AAPL","t":%d,"v":1}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":%d,"v":-5}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":%d,"v":"100"}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":%d,"v":Infinity}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":%d}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":"%d","v":1}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":-%d,"v":1}',
    b'{"c":null,"p":12.5,"s":"AAPL","t":null,"v":1}',
    b'{"c":null,"p":12.5,"s":"AAPL","v":1}',
    b'{"c":null,"p":12.5,"s":"","t":%d,"v":1}',
    b'{"c":null,"p":12.5,"s":17,"t":%d,"v":1}',
    b'{"c":null,"p":12.5,"t":%d,"v":1}',
    b'{"c":"12","p":12.5,"s":"AAPL","t":%d,"v":1}',
    b'{"c":[12],"p":12.5,"s":"AAPL","t":%d,"v":1}',
)
"""Entries that cannot be read as trades; %d is a time."""

_NO_FRAMES = (
    b"",
    b"}{",
    b"null",
    b"[]",
    b"<html>502 Bad Gateway</html>",
    b'{"type":"trade"}',
    b'{"data":null,"type":"trade"}',
    b'{"data":{},"type":"trade"}',
    b'{"data":[{"c":null,"p":1,"s":"AAPL","t":1,"v":1}]}',
    b"[" * 5_000,
    b'{"type":' * 5_000,
)
_NO_FRAME_SHARE = 0.25

_NO_QUOTES = (
    b"",
    b'{"c":12.5,"d":',
    b"null",
    b"7",
    b"[]",
    b"{}",
    b"<html>502 Bad Gateway</html>",
    b'{"c":"12.5","d":0,"dp":0,"h":12.5,"l":12.5,"o":12.5,"pc":12.5,"t":1}',
    b'{"c":NaN,"d":0,"dp":0,"h":12.5,"l":12.5,"o":12.5,"pc":12.5,"t":1}',
    b'{"c":12.5,"d":0,"dp":0,"h":12.5,"l":12.5,"o":12.5,"pc":12.5,"t":[]}',
    b'{"session":[]}',
    b"[" * 100_000,
    b"\xff\xfe",
)


class _Frame(Struct):
    data: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Frame).decode
_encode = msgspec.json.Encoder().encode


def truncated(raw: bytes, rng: Random) -> bytes:
    """Return the first part of a frame, which is not a frame."""
    return raw[: rng.randrange(len(raw))]


def malformed(raw: bytes, t: int, rng: Random) -> tuple[bytes, list[int]]:
    """Insert one to three entries that are not trades into a frame; return it and their indices.

    :param t: a time for entries that resemble a trade (UNIX ms).
    """
    rows = [bytes(row) for row in _decode(raw).data]
    indices = sorted(rng.sample(range(len(rows) + 3), rng.randint(1, 3)))
    bad = []
    for index in indices:
        at = min(index, len(rows))
        rows.insert(at, rng.choice(_BAD_ROWS).replace(b"%d", b"%d" % t))
        bad.append(at)
    return b'{"data":[' + b",".join(rows) + b'],"type":"trade"}', bad


def no_frame(rng: Random) -> bytes | None:
    """Return a message that is not a frame at all, or None."""
    return rng.choice(_NO_FRAMES) if rng.random() < _NO_FRAME_SHARE else None


def no_quote(rng: Random) -> bytes:
    """Return the body of a response with neither a quote nor a market status."""
    return rng.choice(_NO_QUOTES)


def huge(size: int, t: int) -> bytes:
    """Return a frame of `size` bytes whose only entry has an unusable condition."""
    frame = _encode(TradeFrame([Print([""], 1, "AAPL", t, 1)]))
    return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')
