"""One connection's frames as messages: grouping, counting, dropping, splitting, rejecting."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from app.contracts import MAX_MESSAGE_BYTES, Rejection, Trades, encode
from app.feeds.finnhub.frames import parse_frame
from app.feeds.messages.building import RING_FRAMES, ConnectionMessages
from app.feeds.vendor import TradesFrame
from app.rejection_records import rejection_records

T = 1_731_600_060_000
KEEP_MS = 905_000


def _raw(*trades: tuple[str, int, float]) -> bytes:
    data = [{"c": None, "p": p, "s": s, "t": T + t, "v": 1} for s, t, p in trades]
    return json.dumps({"data": data, "type": "trade"}).encode()


class _Connection:
    def __init__(self, **options: Any) -> None:
        self.made = ConnectionMessages("live", "src", "src-1", KEEP_MS, **options)

    def receive(self, raw: bytes, at: int = 100) -> list[Trades]:
        frame = parse_frame(raw)
        assert isinstance(frame, TradesFrame)
        if self.made.is_repeat(raw, frame):
            return []
        return self.made.messages(raw, frame, T + at)


def test_a_frame_of_several_symbols_is_a_message_each_in_order_of_arrival() -> None:
    messages = _Connection().receive(_raw(("B", 5, 1), ("A", 4, 2), ("B", 3, 3)))
    assert [(m.symbol, [(t.t - T, t.frame, t.i) for t in m.trades]) for m in messages] == [
        ("B", [(5, 1, 0), (3, 1, 2)]),
        ("A", [(4, 1, 1)]),
    ]
    assert {(m.feed, m.source, m.connection, m.received_at) for m in messages} == {
        ("live", "src", "src-1", T + 100)
    }


def test_equal_trades_of_a_connection_are_counted_over_its_frames() -> None:
    connection = _Connection()
    first = connection.receive(_raw(("A", 0, 1), ("A", 0, 1), ("B", 0, 1)))
    second = connection.receive(_raw(("A", 0, 1), ("A", 1, 1)))
    ks = [(m.symbol, [t.k for t in m.trades]) for m in first + second]
    assert ks == [("A", [0, 1]), ("B", [0]), ("A", [2, 0])]


def test_another_connection_counts_from_the_beginning() -> None:
    raw = _raw(("A", 0, 1), ("A", 0, 1))
    ks = [[t.k for m in _Connection().receive(raw) for t in m.trades] for _ in range(2)]
    assert ks == [[0, 1], [0, 1]]


def test_a_trade_is_discarded_when_the_clock_has_passed_its_minute_and_the_allowed_lateness() -> (
    None
):
    connection = _Connection(drop_repeats=False)
    last = 60_000 + KEEP_MS
    ks = [connection.receive(_raw(("A", 0, 1)), at)[0].trades[0].k for at in (0, last, last + 1)]
    assert ks == [0, 1, 0]


def test_a_frame_sent_three_times_counts_once() -> None:
    connection = _Connection()
    frames = [_raw(("A", 0, 1)), _raw(("A", 1, 1))]
    made = [connection.receive(raw) for raw in frames for _ in range(3)]
    assert [len(messages) for messages in made] == [1, 0, 0, 1, 0, 0]
    assert (connection.made.frames, connection.made.repeated) == (6, 4)
    assert connection.receive(_raw(("A", 0, 1), ("B", 0, 1)))[0].trades[0].k == 1


def test_the_ring_reaches_back_64_frames() -> None:
    connection = _Connection()
    first = _raw(("A", 0, 1))
    connection.receive(first)
    for t in range(1, RING_FRAMES):
        connection.receive(_raw(("A", t, 1)))
    assert connection.receive(first) == []
    for t in range(100, 100 + RING_FRAMES):
        connection.receive(_raw(("A", t, 1)))
    assert len(connection.receive(first)) == 1


def test_a_sweep_that_fills_several_frames_is_no_repeat() -> None:
    connection = _Connection()
    sweep = _raw(*[("A", 0, 1.0)] * 10)
    ks = [t.k for _ in range(3) for m in connection.receive(sweep) for t in m.trades]
    assert ks == list(range(30))


@pytest.mark.parametrize("trades", [[("A", 0, 1.0)] * 9, [("A", 0, 1.0)] * 9 + [("A", 0, 2.0)]])
def test_a_frame_that_is_not_full_of_equal_prints_is_a_repeat(
    trades: list[tuple[str, int, float]],
) -> None:
    connection = _Connection()
    connection.receive(_raw(*trades))
    assert connection.receive(_raw(*trades)) == []


def test_dropping_can_be_switched_off() -> None:
    connection = _Connection(drop_repeats=False)
    ks = [connection.receive(_raw(("A", 0, 1)))[0].trades[0].k for _ in range(3)]
    assert ks == [0, 1, 2]


def test_a_large_frame_is_split_and_keeps_its_order() -> None:
    raw = _raw(*[("A", 0, float(n + 1)) for n in range(20_000)])
    messages = _Connection().receive(raw)
    assert len(messages) > 1
    assert all(len(encode(m)) <= MAX_MESSAGE_BYTES for m in messages)
    assert [t.i for m in messages for t in m.trades] == list(range(20_000))


def test_a_frame_below_the_size_that_is_looked_at_makes_no_large_message() -> None:
    raw = (
        b'{"data":['
        + b",".join([b'{"p":1,"s":"A","t":1731600060000,"v":1}'] * 1630)
        + b'],"type":"trade"}'
    )
    assert 63_000 < len(raw) <= 64 * 1024
    (message,) = _Connection().receive(raw)
    assert len(encode(message)) <= MAX_MESSAGE_BYTES


def test_rejections_carry_the_frame_once_and_its_indices() -> None:
    raw = b'{"data":[null,{"p":-1}],"type":"trade"}'
    records = rejection_records(
        raw, [Rejection("schema", "malformed", (0,)), Rejection("range", "negative", (1,))], "live"
    )
    assert [(r.stage, r.reason, r.indices) for r in records] == [
        ("feed", "schema", [0]),
        ("feed", "range", [1]),
    ]
    assert base64.b64decode(records[0].payload or "") == raw
    assert records[1].payload is None
    assert {r.sha256 for r in records} == {hashlib.sha256(raw).hexdigest()}
    assert {r.size for r in records} == {len(raw)}
