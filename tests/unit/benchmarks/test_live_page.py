"""How long messages wait for a paint."""

from __future__ import annotations

from benchmarks.live_page import paint_waits


def test_a_message_waits_for_its_close_or_a_newer_one() -> None:
    sent = {200.0: 0.0, 200.01: 50.0, 200.02: 100.0, 200.03: 150.0}
    assert paint_waits(sent, [(200.0, 10.0), (200.02, 130.0), (200.03, 260.0)]) == [
        10,
        80,
        30,
        110,
    ]


def test_messages_before_the_first_and_after_the_last_paint_are_left_out() -> None:
    sent = {200.0: 0.0, 200.01: 50.0, 200.02: 100.0}
    assert paint_waits(sent, [(200.01, 70.0)]) == [20]
