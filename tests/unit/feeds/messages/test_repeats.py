"""How often a trade came before: in time, late, and when it is forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.feeds.messages.repeats import RepeatCounter

M = 1_731_600_060_000
KEEP_MS = 905_000


def test_equal_trades_are_counted() -> None:
    counter = RepeatCounter(KEEP_MS)
    assert [counter.k("A", M, M) for _ in range(3)] == [0, 1, 2]
    assert counter.k("B", M, M) == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 100, 1_000, 90_000]),
            st.integers(-60_000, 800_000),
            st.integers(0, 3),
        ),
        max_size=200,
    )
)
def test_repeats_are_found_in_minutes_that_are_over_and_in_those_to_come(
    steps: list[tuple[int, int, int]],
) -> None:
    counter, seen, now = RepeatCounter(KEEP_MS), Counter[tuple[int, int]](), M
    for passed_ms, late_ms, number in steps:
        now += passed_ms
        t = (now - late_ms) // 1_000 * 1_000
        assert counter.k((number, t), t, now) == seen[number, t]
        seen[number, t] += 1


def test_a_twin_ahead_of_the_clock_is_found_when_its_minute_has_begun() -> None:
    counter = RepeatCounter(KEEP_MS)
    assert counter.k("A", M + 60_010, M + 59_990) == 0
    assert counter.k("A", M + 60_010, M + 60_020) == 1


def test_a_late_trade_is_counted_in_a_minute_that_is_packed() -> None:
    counter = RepeatCounter(KEEP_MS)
    counter.k("A", M, M)
    for now in range(M + 60_000, M + 300_000, 100):
        counter.k(now, now, now)
    late = M + 300_000
    assert [counter.k(name, M, late) for name in "ABAB"] == [1, 0, 2, 1]


def test_what_no_candle_takes_any_more_is_discarded() -> None:
    counter = RepeatCounter(KEEP_MS)
    counter.k("A", M, M)
    assert counter.k("A", M, M + 60_000 + KEEP_MS) == 1
    assert counter.k("A", M, M + 60_001 + KEEP_MS) == 0
    assert counter.k("A", M, M + 60_001 + KEEP_MS) == 0


def test_a_trade_ahead_of_the_clock_is_remembered_no_longer_than_others() -> None:
    counter = RepeatCounter(KEEP_MS)
    counter.k("A", M + 86_400_000, M)
    assert counter.k("A", M + 86_400_000, M) == 1
    counter.k("B", M, M + 60_001 + KEEP_MS)
    assert len(counter._minutes) == 0
