"""The identity rules, on frames one by one."""

from __future__ import annotations

import json
from typing import Any

from app.feeds.simulator.delivery_log.ledger import AnnotatedLog, DeliveryLedger, expected_trades
from app.feeds.simulator.delivery_log.log import Arrived, Ended, Opened, Sent

A: dict[str, Any] = {"c": ["1"], "p": 10.5, "s": "A", "t": 1_780_000_000_000, "v": 100}
B = A | {"s": "B"}


class _Feed:
    """A ledger that is fed frames of its connections."""

    def __init__(self) -> None:
        self.ledger = DeliveryLedger()
        self.frames = 0
        self.open(1)

    def open(self, connection: int, key: int = 1) -> None:
        self.ledger.opened(connection, key)

    def counted(self, *rows: Any, connection: int = 1, **more: Any) -> list[tuple[str, int]]:
        """Symbol and k of what counts of a frame."""
        return [
            (item.symbol, item.k) for item in self.evaluate(*rows, connection=connection, **more)[0]
        ]

    def evaluate(self, *rows: Any, connection: int = 1, **more: Any) -> Any:
        self.frames += 1
        raw = json.dumps({"data": rows, "type": "trade"})
        return self.ledger.evaluate(Sent(0, connection, self.frames, raw, **more))


def test_equal_trades_of_a_connection_are_counted_up() -> None:
    feed = _Feed()
    assert feed.counted(A, B, A) == [("A", 0), ("B", 0), ("A", 1)]
    assert feed.counted(A) == [("A", 2)]


def test_conditions_are_compared_without_order_and_absent_ones_are_equal() -> None:
    feed = _Feed()
    assert feed.counted(A | {"c": ["1", "12"]}, A | {"c": ["12", "1"]}) == [("A", 0), ("A", 1)]
    without = {name: value for name, value in A.items() if name != "c"}
    assert feed.counted(A | {"c": None}, A | {"c": []}, without)[-1] == ("A", 2)


def test_a_frame_repeated_within_64_frames_does_not_count() -> None:
    feed = _Feed()
    assert feed.counted(A) == [("A", 0)]
    for number in range(63):
        feed.counted(B | {"p": number + 1})
    assert feed.counted(A, repeat=True) == []
    assert feed.counted(A, B) == [("A", 1), ("B", 0)]


def test_behind_64_frames_a_repeat_is_taken_for_new_and_reported_to_be() -> None:
    feed = _Feed()
    feed.counted(A)
    for number in range(64):
        feed.counted(B | {"p": number + 1})
    weighed = feed.evaluate(A, repeat=True)
    assert [(item.symbol, item.k) for item in weighed.counted] == [("A", 1)]
    assert weighed.doubled == [0]


def test_a_full_frame_of_equal_prints_always_counts() -> None:
    feed = _Feed()
    feed.counted(*[A] * 10)
    assert [k for _, k in feed.counted(*[A] * 10)] == [*range(10, 20)]
    assert feed.evaluate(*[A] * 10, repeat=True).doubled == [*range(10)]
    assert feed.counted(*[B] * 9) != []
    assert feed.counted(*[B] * 9) == []


def test_a_genuine_twin_frame_is_unseen() -> None:
    feed = _Feed()
    feed.evaluate(A, B)
    assert feed.evaluate(A, B).unseen == [0, 1]


def test_twins_on_either_side_of_a_reconnect_count_once() -> None:
    feed = _Feed()
    feed.evaluate(A)
    feed.open(2)
    weighed = feed.evaluate(A, A, connection=2)
    assert [(item.symbol, item.k) for item in weighed.counted] == [("A", 1)]
    assert weighed.unseen == [0]


def test_what_another_key_receives_again_is_no_twin() -> None:
    feed = _Feed()
    feed.open(2, key=2)
    feed.evaluate(A, A)
    assert feed.evaluate(A, A, connection=2) == ([], [], [])
    assert feed.evaluate(A, B, connection=2).counted[0].k == 2


def test_what_is_no_trade_does_not_count() -> None:
    feed = _Feed()
    assert feed.counted(A, None, {"s": 17}, B, bad=[1, 2]) == [("A", 0), ("B", 0)]
    assert feed.ledger.evaluate(Sent(0, 1, 9, '{"data":[{"c"', broken=True)) == ([], [], [])
    assert feed.ledger.evaluate(Sent(0, 1, 9, '{"type":"ping"}')) == ([], [], [])


def test_the_truth_is_what_provably_arrived() -> None:
    now = A["t"]
    rows = (A, A | {"v": 1}, A | {"t": now + 60_004}, B)
    raws = [json.dumps({"data": [row], "type": "trade"}) for row in rows]
    log = [
        Opened(now, 1, 1),
        Sent(now + 1, 1, 1, raws[0]),
        Sent(now + 2, 1, 2, raws[0], repeat=True),
        Sent(now + 3, 1, 3, raws[1]),
        Sent(now + 3, 1, 4, raws[2]),
        Arrived(now + 4, 1, 4),
        Sent(now + 5, 1, 5, raws[3]),
        Ended(now + 6, 1),
    ]
    found = expected_trades(log)
    assert [(trade.symbol, trade.v) for trade in found.trades] == [("A", 100), ("A", 1)]
    assert [item.t for item in found.future] == [now + 60_004]
    assert found[2:] == (3, 1, 0, 0, 1)


def test_the_log_bears_the_checkpoints() -> None:
    written: list[Any] = []
    log = AnnotatedLog(written.append)
    log.record(Opened(0, 1, 1))
    for frame in (1, 2):
        log.record(Sent(0, 1, frame, json.dumps({"data": [A], "type": "trade"})))
    assert [item.unseen for item in written[1:]] == [[], [0]]
