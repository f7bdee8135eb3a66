"""Figures that are worked out of what was seen: by hand here, in the benchmarks by the thousand."""

from __future__ import annotations

import pytest

from benchmarks._report import percentile
from benchmarks.latency import Seen, SentMessage, first_partial_ms, until_counted_ms
from benchmarks.scaling import Progress

MS = 1_000_000


def sent(offset: int, at_ms: int, minute: int = 0) -> SentMessage:
    return SentMessage(0, offset, at_ms, "A", minute, at_ms * MS)


def seen(last_offset: int, at_ms: int, minute: int = 0, stamp_ms: int = 0) -> Seen:
    return Seen(0, stamp_ms, "A", minute, last_offset, at_ms * MS, 0.0)


def test_a_percentile_is_a_figure_that_was_measured() -> None:
    figures = [float(number) for number in range(100, 0, -1)]
    assert percentile(figures, 50) == 51
    assert percentile(figures, 99) == 100
    assert percentile([7.0], 99) == 7


def test_a_message_is_timed_to_the_partial_that_it_emitted_itself() -> None:
    assert first_partial_ms([sent(1, 10), sent(2, 20)], [seen(2, 23, stamp_ms=20)]) == [3]


def test_a_message_is_timed_to_the_first_of_the_partials_that_it_emitted() -> None:
    both = [seen(1, 12, stamp_ms=10), seen(1, 13, minute=60, stamp_ms=10)]
    assert first_partial_ms([sent(1, 10)], both) == [2]


def test_a_partial_that_a_later_watermark_emitted_is_not_the_trades_own() -> None:
    assert first_partial_ms([sent(1, 10)], [seen(1, 500, stamp_ms=499)]) == []


def test_a_trade_waits_for_the_first_candle_of_its_minute_that_counts_it() -> None:
    others = [seen(1, 11), seen(9, 14, minute=60), seen(3, 40), seen(4, 50)]
    assert until_counted_ms([sent(2, 20)], others) == [20]


def test_a_trade_that_no_candle_counts_is_an_error() -> None:
    with pytest.raises(AssertionError, match="never seen"):
        until_counted_ms([sent(2, 20)], [seen(1, 30)])


def test_workers_are_timed_until_the_first_is_through() -> None:
    progress = Progress([{0}, {1}], {0: 100, 1: 400})
    assert not progress.record(1.0, {0: 50, 1: 100})
    assert not progress.record(2.0, {0: 100, 1: 200})
    assert progress.record(3.0, {0: 100, 1: 400})
    assert progress.messages_a_second() == 100 / 2 + 200 / 2
    assert progress.shares() == [0.8, 0.2]


def test_what_lies_behind_the_input_counts_for_nothing() -> None:
    progress = Progress([{0}], {0: 100})
    assert progress.record(2.0, {0: 101})
    assert progress.messages_a_second() == 50
