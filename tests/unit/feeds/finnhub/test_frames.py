"""Frames as Finnhub was seen to send them, and as nobody should."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import Trade
from app.feeds.finnhub.frames import MAX_FRAME_BYTES, parse_frame
from app.feeds.vendor import ErrorFrame, HeartbeatFrame, IgnoredFrame, RejectedFrame, TradesFrame

T = 1_731_600_126_006
GOOD = b'{"c":["1","12"],"p":164.0641,"s":"AAPL","t":1731600126006,"v":4}'


def _frame(*trades: bytes) -> bytes:
    return b'{"data":[' + b",".join(trades) + b'],"type":"trade"}'


def _parsed(*trades: bytes) -> TradesFrame:
    frame = parse_frame(_frame(*trades))
    assert isinstance(frame, TradesFrame)
    return frame


def test_a_recorded_frame_keeps_its_order_and_all_digits() -> None:
    crypto = b'{"c":null,"p":0.00001234567890123,"s":"BINANCE:BTCUSDT","t":1731600125982,"v":0}'
    frame = _parsed(GOOD, crypto)
    assert [(trade.trade.i, trade.symbol) for trade in frame.trades] == [
        (0, "AAPL"),
        (1, "BINANCE:BTCUSDT"),
    ]
    assert frame.trades[0].trade == Trade(T, Decimal("164.0641"), Decimal(4), ["1", "12"], i=0)
    assert frame.trades[1].trade.p == Decimal("0.00001234567890123")
    assert frame.rejections == []


@pytest.mark.parametrize("c", [b'"c":null,', b'"c":[],', b""])
def test_no_conditions_are_one_identity_however_they_are_written(c: bytes) -> None:
    (item,) = _parsed(b"{" + c + b'"p":1,"s":"A","t":1731600126006,"v":1}').trades
    assert item.identity == ("A", T, Decimal(1), Decimal(1), ())


def test_identity_goes_by_rounded_numbers_and_sorted_codes() -> None:
    long = b'{"c":["12","1"],"p":164.06410000000001,"s":"AAPL","t":1731600126006,"v":4.0}'
    a, b = _parsed(GOOD, long).trades
    assert a.identity == b.identity
    assert b.trade.p == Decimal("164.06410000000001")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"p":NaN,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":Infinity,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":"164.06","s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":164.06,"s":"AAPL","t":1731600126006,"v":"4"}', "schema"),
        (b'{"p":164.06,"s":"AAPL","t":"1731600126006","v":4}', "schema"),
        (b'{"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":null,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":164.06,"s":"AAPL","v":4}', "schema"),
        (b'{"p":164.06,"s":"","t":1731600126006,"v":4}', "schema"),
        (b'{"p":164.06,"t":1731600126006,"v":4}', "schema"),
        (b'{"c":"12","p":164.06,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"c":[12],"p":164.06,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b'{"p":164.06,"s":"AAPL","t":' + b"9" * 5000 + b',"v":4}', "schema"),
        (b'{"p":' + b"9" * 5000 + b',"s":"AAPL","t":1731600126006,"v":4}', "range"),
        (b'{"p":1e999999999999999999999,"s":"AAPL","t":1731600126006,"v":4}', "schema"),
        (b"null", "schema"),
        (b"[]", "schema"),
        (b'{"p":-164.06,"s":"AAPL","t":1731600126006,"v":4}', "range"),
        (b'{"p":0,"s":"AAPL","t":1731600126006,"v":4}', "range"),
        (b'{"p":164.06,"s":"AAPL","t":1731600126006,"v":-4}', "range"),
        (b'{"p":164.06,"s":"AAPL","t":1731600126,"v":4}', "range"),
        (b'{"p":1e17,"s":"AAPL","t":1731600126006,"v":4}', "range"),
        (b'{"p":1e9,"s":"AAPL","t":1731600126006,"v":1e9}', "range"),
    ],
)
def test_an_invalid_trade_is_rejected_and_the_frames_other_trades_are_kept(
    bad: bytes, reason: str
) -> None:
    frame = _parsed(GOOD, bad, GOOD)
    assert [trade.trade.i for trade in frame.trades] == [0, 2]
    assert [(entry.reason, entry.indices) for entry in frame.rejections] == [(reason, (1,))]
    assert frame.size == 3


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        _frame(GOOD)[:-5],
        b"[]",
        b"{}",
        b'{"type":"trade"}',
        b'{"type":"trade","data":{}}',
        b"[" * 100_000,
        b" " * (MAX_FRAME_BYTES + 1),
    ],
)
def test_what_is_no_frame_is_rejected_complete(raw: bytes) -> None:
    frame = parse_frame(raw)
    assert isinstance(frame, RejectedFrame)
    assert frame.rejection.reason == "schema"
    assert frame.rejection.indices is None


def test_pings_errors_and_news_are_reported_apart() -> None:
    assert parse_frame(b'{"type":"ping"}') == HeartbeatFrame()
    reported = "Subscribing to too many symbols"
    assert parse_frame(f'{{"msg":"{reported}","type":"error"}}'.encode()) == ErrorFrame(reported)
    assert parse_frame(b'{"type":"news","data":[]}') == IgnoredFrame("news")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_trade = st.fixed_dictionaries(
    {},
    optional={
        "s": st.sampled_from(["AAPL", "BINANCE:BTCUSDT"]) | _json,
        "t": st.just(T) | _json,
        "p": st.floats(0.01, 1e6) | _json,
        "v": st.integers(0, 1000) | _json,
        "c": st.none() | st.lists(st.sampled_from(["1", "12"])) | _json,
    },
)


@settings(max_examples=300)
@given(st.lists(_trade | _json, max_size=12))
def test_every_trade_of_any_frame_is_kept_or_rejected_once(data: list[Any]) -> None:
    frame = parse_frame(json.dumps({"data": data, "type": "trade"}).encode())
    assert isinstance(frame, TradesFrame)
    kept = [trade.trade.i for trade in frame.trades]
    rejected = [place for entry in frame.rejections for place in entry.indices or ()]
    assert sorted(kept + rejected) == list(range(len(data)))


@settings(max_examples=300)
@given(st.data())
def test_no_mutilated_frame_makes_it_fail(data: st.DataObject) -> None:
    raw = bytearray(_frame(GOOD, GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 8))
        raw[at : at + cut] = data.draw(st.binary(max_size=8))
    parse_frame(bytes(raw))
