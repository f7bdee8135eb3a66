"""When the archive flushes."""

from __future__ import annotations

import pytest

from topologies.archive import seconds_to_flush

OFFSET_S = 10.0


@pytest.mark.parametrize(
    ("now_s", "interval_s", "expected"),
    [
        (600.0, 60.0, 10.0),
        (610.0, 60.0, 60.0),
        (612.5, 60.0, 57.5),
        (610.0, 15.0, 15.0),
        (655.0, 25.0, 15.0),  # the finals' flush comes first
        (610.0, 300.0, 300.0),
        (905.0, 300.0, 5.0),
        (610.0, 1.0, 1.0),
    ],
)
def test_one_flush_of_each_minute_follows_the_final_candles(
    now_s: float, interval_s: float, expected: float
) -> None:
    assert seconds_to_flush(now_s, interval_s, OFFSET_S) == pytest.approx(expected)
