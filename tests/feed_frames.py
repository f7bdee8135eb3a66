"""Frames as feeds send them, and as nothing should: made, and mutated byte by byte.

Shapes are those of recorded frames: key order, conditions as list, null, empty or absent.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

RECORDED = (
    b'{"data":[{"c":["1","12"],"p":164.06,"s":"AAPL","t":%d,"v":4}],"type":"trade"}',
    (
        b'{"data":[{"c":null,"p":7296.89,"s":"BINANCE:BTCUSDT","t":%d,"v":0.011467},'
        b'{"c":[],"p":7296.9,"s":"BINANCE:BTCUSDT","t":%d,"v":0}],"type":"trade"}'
    ),
    (
        b'{"data":[{"p":195.63,"s":"TSLA","t":%d,"v":12},{"c":["1","24"],"p":195.6,"s":"AAPL",'
        b'"t":%d,"v":1.5e2}],"type":"trade"}'
    ),
    b'{"type":"ping"}',
    b'{"msg":"Subscribing to too many symbols","type":"error"}',
)
_PIECES = (
    b"NaN", b"-1", b"1e400", b"Infinity", b"null", b'"x"', b"[", b"]", b"{", b"}", b",", b":",
    b'"', b"\\", b"\x00", b"\xff", b"1" * 400, b'"s":"AAPL"', b'"t":', b"0.", b"[" * 300,
)  # fmt: skip


def recorded(rng: Random, now_ms: int) -> bytes:
    """A frame of a recorded shape, its trades at about `now_ms`."""
    shape = rng.choice(RECORDED)
    times = (now_ms - rng.randrange(-90_000, 90_000) for _ in range(shape.count(b"%d")))
    return shape % tuple(times)


def mutated(rng: Random, frame: bytes) -> bytes:
    """`frame` with some bytes replaced, removed, repeated, or pieces put between them."""
    content = bytearray(frame)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(5):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del content[at : at + rng.randrange(1, 9)]
            case 2:
                content[at:at] = rng.choice(_PIECES)
            case 3:
                content[at:at] = content[at : at + rng.randrange(1, 40)]
            case _:
                del content[at:]
    return bytes(content)


def trades_in(raw: bytes) -> int | None:
    """How many trades a frame delivers, by a plain reading of it; 0 if it is no frame of trades.

    None if that is a matter of taste: a name stands in it twice.
    """
    try:
        frame = json.loads(raw.decode(errors="replace"), object_pairs_hook=_without_doubles)
    except _Ambiguous:
        return None
    except (ValueError, RecursionError):
        return 0
    if not isinstance(frame, dict) or frame.get("type") != "trade":
        return 0
    return len(frame["data"]) if isinstance(frame.get("data"), list) else 0


class _Ambiguous(Exception):
    pass


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _Ambiguous
    return dict(pairs)


_odd: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])
)


def _rows(now_ms: int) -> st.SearchStrategy[Any]:
    row = {
        "s": st.sampled_from(["AAPL", "TSLA", "BINANCE:BTCUSDT", "bad symbol"]) | _odd,
        "p": st.floats(0.01, 1e6) | st.integers(1, 10**20) | _odd,
        "t": st.integers(now_ms - 90_000, now_ms + 90_000) | _odd,
        "v": st.integers(0, 1_000) | st.floats(0, 1e6) | _odd,
    }
    codes = st.none() | st.lists(st.sampled_from(["1", "12", "24", "99"]), max_size=4) | _odd
    return st.fixed_dictionaries(row, optional={"c": codes}) | _odd


def any_frame(now_ms: int) -> st.SearchStrategy[bytes]:
    """Frames of every type, most of them of trades, some of which are none."""
    trades = st.fixed_dictionaries(
        {"data": st.lists(_rows(now_ms), max_size=12) | _odd, "type": st.just("trade")}
    )
    others = st.fixed_dictionaries({"type": st.sampled_from(["ping", "error", "news"]) | _odd})
    return st.one_of(trades, trades, others, _odd).map(lambda frame: json.dumps(frame).encode())
