"""Frames as recorded: shapes, sizes, order."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from random import Random

import msgspec
import pytest
from msgspec import UNSET

from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.protocol import PING, TOO_MANY_SYMBOLS, client_message, trade_frames

START_MS = 1_780_000_000_000
SYMBOLS = ["AAPL", "SPY", "TSLA", "BINANCE:BTCUSDT"]


@pytest.fixture(scope="module")
def prints() -> list[Print]:
    return Exchange(seed=1, rate=2_000.0, now_ms=START_MS).step(START_MS + 5_000, SYMBOLS)


def frames_of(prints: list[Print], seed: int = 1) -> list[list[dict[str, object]]]:
    return [json.loads(frame)["data"] for frame in trade_frames(prints, Random(seed))]


def test_a_frame_is_written_as_recorded() -> None:
    prints = [
        Print(["1", "12"], 164.06, "AAPL", START_MS, 4),
        Print(None, 67_400, "BINANCE:BTCUSDT", START_MS, 0.00125),
        Print([], 262.5, "TSLA", START_MS, 1_333),
        Print(UNSET, 262.5, "TSLA", START_MS + 1, 100),
    ]
    frame = b"".join(trade_frames(prints, Random(5)))
    assert frame == (
        b'{"data":[{"c":["1","12"],"p":164.06,"s":"AAPL","t":1780000000000,"v":4},'
        b'{"c":null,"p":67400,"s":"BINANCE:BTCUSDT","t":1780000000000,"v":0.00125},'
        b'{"c":[],"p":262.5,"s":"TSLA","t":1780000000000,"v":1333},'
        b'{"p":262.5,"s":"TSLA","t":1780000000001,"v":100}],"type":"trade"}'
    )


def test_control_frames_are_written_as_recorded() -> None:
    assert json.loads(PING) == {"type": "ping"}
    assert TOO_MANY_SYMBOLS == b'{"msg":"Subscribing to too many symbols","type":"error"}'


def test_no_frame_holds_more_than_ten_trades_and_many_hold_ten(prints: list[Print]) -> None:
    sizes = Counter(len(frame) for frame in frames_of(prints))
    assert max(sizes) == 10
    assert min(sizes) >= 1
    assert sizes.most_common(1)[0][0] == 10


def test_frames_mix_symbols(prints: list[Print]) -> None:
    assert any(len({trade["s"] for trade in frame}) > 1 for frame in frames_of(prints))


def test_frames_are_not_sorted_inside_nor_across(prints: list[Print]) -> None:
    times = [[trade["t"] for trade in frame] for frame in frames_of(prints)]
    assert any(frame != sorted(frame) for frame in times)  # type: ignore[type-var]
    assert any(min(b) < max(a) for a, b in pairwise(times))  # type: ignore[type-var]


def test_every_print_is_in_the_frames_once(prints: list[Print]) -> None:
    def key(trade: object) -> bytes:
        return json.dumps(trade, sort_keys=True).encode()

    sent = Counter(key(trade) for frame in frames_of(prints) for trade in frame)
    assert sent == Counter(key(msgspec.to_builtins(trade)) for trade in prints)


def test_prints_of_one_symbol_and_millisecond_keep_their_order(prints: list[Print]) -> None:
    def by_millisecond(trades: list[dict[str, object]]) -> dict[object, list[object]]:
        orders: dict[object, list[object]] = {}
        for trade in trades:
            orders.setdefault((trade["s"], trade["t"]), []).append((trade["p"], trade["v"]))
        return orders

    sent = [trade for frame in frames_of(prints) for trade in frame]
    assert by_millisecond(sent) == by_millisecond([msgspec.to_builtins(item) for item in prints])


def test_no_two_frames_are_alike_but_full_ones_of_equal_prints() -> None:
    exchange = Exchange(seed=1, rate=1_000.0, now_ms=START_MS)
    rng = Random(1)
    sent: Counter[bytes] = Counter()
    for end_ms in range(START_MS + 50, START_MS + 300_000, 50):
        sent.update(trade_frames(exchange.step(end_ms, SYMBOLS), rng))
    twins = [json.loads(frame)["data"] for frame, count in sent.items() if count > 1]
    assert all(frame == [frame[0]] * 10 for frame in twins)


def test_the_same_seed_gives_the_same_frames(prints: list[Print]) -> None:
    assert frames_of(prints, 3) == frames_of(prints, 3) != frames_of(prints, 4)


def test_a_client_may_subscribe_and_unsubscribe() -> None:
    message = client_message('{"type":"subscribe","symbol":"BINANCE:BTCUSDT"}')
    assert (message.type, message.symbol) == ("subscribe", "BINANCE:BTCUSDT")
    assert client_message(b'{"symbol":"A","type":"unsubscribe"}').type == "unsubscribe"


@pytest.mark.parametrize(
    "raw",
    ["", "{", "[]", "null", '{"type":"subscribe"}', '{"type":"pong"}', b"\xff\xfe", "[" * 9999],
)
def test_anything_else_is_rejected(raw: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        client_message(raw)
