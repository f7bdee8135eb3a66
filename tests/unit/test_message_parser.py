"""The one parser of stocks-topic: what it accepts, and what it rejects with which reason."""

from __future__ import annotations

import json
from decimal import Decimal

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract_schemas import json_schemas
from app.contracts import (
    Quote,
    Trade,
    Trades,
    Watermark,
    encode,
)
from app.exact import LIMIT, notional, rounded, rounded_count
from app.market.symbols import SYMBOL_RULE, is_symbol
from app.message_parser import MessageRejectedError, decode

NOW = 1_700_000_000_000
STOCKS_TOPIC_SCHEMA = jsonschema.Draft202012Validator(json_schemas()["stocks-topic.schema.json"])
GOOD = {"t": NOW, "p": 187.25, "v": 100, "c": ["1"], "frame": 3, "i": 0, "k": 0}


def value(*trades, **envelope) -> bytes:
    message = {
        "type": "trades",
        "symbol": "AAPL",
        "feed": "live",
        "source": "a",
        "connection": "c",
        "received_at": NOW,
        "trades": list(trades) or [GOOD],
    }
    return json.dumps(message | envelope).encode()


def test_numbers_keep_all_their_digits_on_the_way():
    trade = Trade(NOW, Decimal("0.123456789012"), Decimal("9007199254740993"))
    message = Trades("AAPL", "live", "a", "c", NOW, [trade])
    assert decode(b"AAPL", encode(message), "live").message == message


def test_more_than_12_decimals_are_rounded_half_even():
    assert rounded(Decimal("0.1234567890125")) == Decimal("0.123456789012")
    assert rounded(Decimal("0.1234567890135")) == Decimal("0.123456789014")
    assert rounded(Decimal("167.42000000000002")) == Decimal("167.42")
    assert notional(Decimal("0.000000000001"), Decimal("0.000000500000")) == Decimal(0)
    assert notional(Decimal("0.000000000001"), Decimal("0.000001500000")) == Decimal("2e-18")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"p": None}, "schema"),
        ({"p": "187.25"}, "schema"),
        ({"p": "NaN"}, "schema"),
        ({"p": True}, "schema"),
        ({"p": [1]}, "schema"),
        ({"t": "now"}, "schema"),
        ({"t": 1.5}, "schema"),
        ({"c": [1]}, "schema"),
        ({"v": {}}, "schema"),
        ({"p": 0}, "range"),
        ({"p": -1}, "range"),
        ({"v": -1}, "range"),
        ({"p": 1e16}, "range"),
        ({"p": 1e9, "v": 1e9}, "range"),
        ({"p": 1e-13}, "range"),
        ({"k": -1}, "schema"),
        ({"k": 2**31}, "schema"),
        ({"k": 2**70}, "schema"),
        ({"i": 2**31}, "schema"),
        ({"frame": 2**63}, "schema"),
        ({"t": 0}, "range"),
        ({"t": 2**62}, "range"),
    ],
)
def test_an_invalid_trade_is_rejected_alone(broken, reason):
    message, rejections, indices = decode(b"AAPL", value(GOOD, GOOD | broken, GOOD), "live")
    assert [(r.reason, r.indices) for r in rejections] == [(reason, (1,))]
    assert len(message.trades) == 2
    assert indices == (0, 2)


def test_each_number_that_is_rounded_is_counted():
    before = rounded_count()
    for _ in range(2):
        decode(b"AAPL", value(GOOD).replace(b"187.25", b"0.1234567890129"), "live")
        decode(b"AAPL", value(GOOD).replace(b"187.25", b"0.1234567890120"), "live")
    assert rounded_count() == before + 2


@pytest.mark.parametrize("field", ["p", "v"])
def test_a_number_that_only_rounding_lifts_to_17_digits_is_out_of_range(field):
    other = {"p": "v", "v": "p"}[field]
    payload = value(GOOD | {field: 111, other: 0.1}).replace(b"111", b"9" * 16 + b"." + b"9" * 13)
    _, rejections, _ = decode(b"AAPL", payload, "live")
    assert [(r.reason, r.indices) for r in rejections] == [("range", (0,))]


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "1.5"])
def test_a_text_is_no_number_however_its_key_is_written(number):
    escaped = value().replace(b'"p": 187.25', b'"\\u0070": "' + number.encode() + b'"')
    _, rejections, _ = decode(b"AAPL", escaped, "live")
    assert [(r.reason, r.indices) for r in rejections] == [("schema", (0,))]


def test_trailing_zeros_make_no_difference():
    (trade,) = decode(b"AAPL", value().replace(b"187.25", b"187.25" + b"0" * 1000), "live")[
        0
    ].trades
    assert str(trade.p) == "187.25"


@pytest.mark.parametrize("missing", ["t", "p", "v"])
def test_a_trade_without_a_field_is_rejected_alone(missing):
    bad = {name: x for name, x in GOOD.items() if name != missing}
    message, rejections, _ = decode(b"AAPL", value(bad, GOOD), "live")
    assert [(r.reason, r.indices) for r in rejections] == [("schema", (0,))]
    assert missing in rejections[0].detail
    assert len(message.trades) == 1


@pytest.mark.parametrize(
    ("key", "payload", "reason"),
    [
        (b"AAPL", None, "schema"),
        (b"AAPL", b"", "schema"),
        (b"AAPL", b"{", "schema"),
        (b"AAPL", b"\xff\xfe", "schema"),
        (b"AAPL", b"[" * 100_000, "schema"),
        (b"AAPL", b"null", "schema"),
        (b"AAPL", b'{"type":"other"}', "schema"),
        (b"AAPL", value(GOOD | {"p": float("nan")}), "schema"),
        (b"AAPL", value(feed="else"), "schema"),
        (b"AAPL", value(received_at="x"), "schema"),
        (b"AAPL", value(received_at=1), "range"),
        (b"AAPL", value(feed="replay"), "feed"),
        (None, value(), "key"),
        (b"", value(), "key"),
        (b"MSFT", value(), "key"),
        (b"\xff\xfe", value(), "key"),
        (b"", value(symbol=""), "schema"),
        (b"'; drop table x; --", value(symbol="'; drop table x; --"), "schema"),
        (b"O'NEIL", value(symbol="O'NEIL"), "schema"),
        (b"aapl", value(symbol="aapl"), "schema"),
        (b"A\n", value(symbol="A\n"), "schema"),
        (b"A" * 49, value(symbol="A" * 49), "schema"),
        (b"O'NEIL", value(GOOD | {"p": None}, symbol="O'NEIL"), "schema"),
        (b"AAPL", value(source="a\nb"), "schema"),
        (b"AAPL", value(source="a\x00"), "schema"),
        (b"AAPL", value(source=""), "schema"),
        (b"AAPL", value(source="a" * 256), "schema"),
        (b"AAPL", value(GOOD | {"p": None}, source="a" * 256), "schema"),
        (b"AAPL", value(connection="a\x7f"), "schema"),
        (b"AAPL", value(connection="a" * 256), "schema"),
    ],
)
def test_an_invalid_message_is_rejected(key, payload, reason):
    with pytest.raises(MessageRejectedError) as error:
        decode(key, payload, "live")
    assert error.value.rejection.reason == reason
    assert error.value.rejection.indices is None


def test_the_detail_of_a_rejection_is_short_however_long_the_value():
    with pytest.raises(MessageRejectedError) as error:
        decode(b"AAPL", b'{"type":"%b"}' % (b"x" * 300_000), "live")
    assert len(error.value.rejection.detail) == 300


@pytest.mark.parametrize(
    "message",
    [
        Quote("O'NEIL", "live", "a", NOW, Decimal(1), *[None] * 6, NOW // 1000),
        Watermark("O'NEIL", "live", "a", NOW, NOW),
        Trades("O'NEIL", "live", "a", "c", NOW, []),
    ],
)
def test_a_message_of_any_kind_with_an_invalid_symbol_is_rejected(message):
    with pytest.raises(MessageRejectedError) as error:
        decode(b"O'NEIL", encode(message), "live")
    assert error.value.rejection == (
        "schema",
        f'"O\'NEIL" is not a symbol: that is {SYMBOL_RULE}',
        None,
    )


@settings(max_examples=1_000, deadline=None)
@given(st.text() | st.text("AZ09.:/_-=&+^ '\"\\%{}\n\x00"))
def test_any_text_is_a_symbol_by_both_the_rule_and_the_schema_or_rejected(text):
    payload = value(symbol=text)
    try:
        decode(text.encode(), payload, "live")
    except MessageRejectedError as error:
        assert error.rejection.reason == "schema"
        assert not is_symbol(text)
        if not text.endswith("\n"):  # before which Python's `$`, not that of JSON Schema, matches
            assert not STOCKS_TOPIC_SCHEMA.is_valid(json.loads(payload))
    else:
        assert is_symbol(text)
        assert STOCKS_TOPIC_SCHEMA.is_valid(json.loads(payload))


@pytest.mark.parametrize("change", [{"t": 10**12}, {"c": 1e17}, {"c": "1"}, {"h": "x"}])
def test_an_invalid_quote_is_rejected(change):
    quote = {"type": "quote", "symbol": "AAPL", "feed": "live", "source": "a", "received_at": NOW}
    quote |= {"c": 1, "d": None, "dp": None, "h": 1, "l": 1, "o": 1, "pc": 1, "t": NOW // 1000}
    assert decode(b"AAPL", json.dumps(quote).encode(), "live").message.c == 1
    with pytest.raises(MessageRejectedError):
        decode(b"AAPL", json.dumps(quote | change).encode(), "live")


def test_a_quotes_numbers_are_rounded_and_in_range():
    quote = Quote("AAPL", "live", "a", NOW, Decimal(111), *[None] * 6, NOW // 1000)
    long = encode(quote).replace(b"111", b"10.5" + b"0" * 1000)
    assert str(decode(b"AAPL", long, "live").message.c) == "10.5"
    with pytest.raises(MessageRejectedError):
        decode(b"AAPL", encode(quote).replace(b"111", b"-" + b"9" * 16 + b"." + b"9" * 13), "live")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(["t", "p", "v", "c", "frame", "i", "k"]), json_values))
def test_whatever_a_trade_contains_it_is_parsed_or_rejected_and_the_valid_one_is_kept(fields):
    try:
        message, rejections, _ = decode(b"AAPL", value(GOOD | fields, GOOD), "live")
    except MessageRejectedError as error:  # JSON that is none: NaN, Infinity, lone surrogates
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            msgspec.json.decode(value(GOOD | fields, GOOD))
        assert error.rejection.reason == "schema"
        return
    rejected_indices = [i for r in rejections for i in r.indices]
    assert len(message.trades) + len(rejected_indices) == 2
    assert set(rejected_indices) <= {0}
    for trade in message.trades:
        assert 0 < trade.p < LIMIT
        assert 0 <= trade.v < LIMIT


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=200)
    | st.just(value()).flatmap(lambda v: st.integers(0, len(v)).map(lambda n: v[:n]))
)
def test_any_bytes_are_parsed_or_rejected(payload):
    try:
        decode(b"AAPL", payload, "live")
    except MessageRejectedError as error:
        assert error.rejection.detail


@pytest.mark.parametrize("number", ["1e400000000", "1e-400000000", "1e999999999999999999999"])
def test_absurd_exponents_are_rejected(number):
    payload = value().replace(b"187.25", number.encode())
    try:
        _, rejections, _ = decode(b"AAPL", payload, "live")
    except MessageRejectedError:
        return
    assert rejections
