"""The worked example: its arithmetic, its corrections, and the page that shows it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import Candle
from examples import session_vwap
from examples.session_vwap import Point, SessionStates
from tests.candle_maker import START, candle
from tests.conftest import ROOT

MINUTE, LATENESS = 60_000, 900_000


def apply_candle(sessions: SessionStates, candle: Candle) -> list[Point]:
    return session_vwap.apply_candle(sessions, candle, LATENESS)


def minute(n: int, notional: str, volume: str, revision: int = 0, **fields: object) -> Candle:
    return candle(
        "SPY",
        n,
        notional=Decimal(notional),
        volume=Decimal(volume),
        revision=revision,
        **({"session": "post", "session_date": "2023-11-14"} | fields),
    )


def test_the_vwap_of_a_session_is_its_notional_over_its_volume():
    sessions: SessionStates = {}
    assert apply_candle(sessions, minute(0, "100", "10"))[0].vwap == 10.0
    (point,) = apply_candle(sessions, minute(1, "360", "30"))
    assert point.vwap == 11.5
    assert (point.window_start, point.session) == (START + MINUTE, "post")
    assert point.upper - point.vwap == pytest.approx(2 * sqrt(0.75))
    assert point.vwap - point.lower == pytest.approx(2 * sqrt(0.75))


def test_a_revised_candle_corrects_its_minute_and_every_later_one():
    sessions: SessionStates = {}
    for n in range(3):
        apply_candle(sessions, minute(n, "100", "10"))
    corrected = apply_candle(sessions, minute(1, "360", "30", revision=1))
    assert [(p.window_start - START, p.vwap) for p in corrected] == [
        (MINUTE, 11.5),
        (2 * MINUTE, 11.2),
    ]
    assert apply_candle(sessions, minute(1, "100", "10", revision=0)) == []


def test_minutes_without_volume_make_no_points_until_there_is_some():
    sessions: SessionStates = {}
    assert apply_candle(sessions, minute(0, "0", "0")) == []
    assert [p.vwap for p in apply_candle(sessions, minute(1, "10", "1"))] == [10.0]
    assert [p.vwap for p in apply_candle(sessions, minute(2, "0", "0"))] == [10.0]


def test_a_session_begins_anew_and_the_one_before_may_still_be_revised():
    sessions: SessionStates = {}
    apply_candle(sessions, minute(0, "100", "10", session="regular"))
    apply_candle(sessions, minute(1, "20", "1"))
    (point,) = apply_candle(sessions, minute(0, "110", "10", revision=1, session="regular"))
    assert point.vwap == 11.0
    apply_candle(sessions, minute(9, "20", "1", session="closed"))
    assert len(sessions) == 2


minutes = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 9))


@settings(deadline=None)
@given(st.lists(minutes, max_size=25))
def test_the_last_points_are_those_of_the_last_revisions(drawn):
    sessions: SessionStates = {}
    points: dict[int, Point] = {}
    newest: dict[int, tuple[int, int, int]] = {}
    for n, revision, price in drawn:
        volume = 2 * revision + n % 2  # a revision adds trades, and takes none away
        if revision >= newest.get(n, (0,))[0]:
            newest[n] = (revision, price * volume, volume)
        for point in apply_candle(sessions, minute(n, str(price * volume), str(volume), revision)):
            points[(point.window_start - START) // MINUTE] = point
    for n in newest:
        notional = sum(newest[m][1] for m in newest if m <= n)
        volume = sum(newest[m][2] for m in newest if m <= n)
        assert (n in points) == bool(volume)
        if volume:
            assert points[n].vwap == float(Fraction(notional, volume))
            assert points[n].lower <= points[n].vwap <= points[n].upper


def test_what_can_be_revised_no_more_is_kept_as_a_sum_and_gives_the_same_points():
    folding: SessionStates = {}
    keeping: SessionStates = {}
    random = Random(2)
    for n in range(60):
        new = minute(n, str(random.randint(900, 1100)), "10")
        revised = minute(max(0, n - 14), str(random.randint(1800, 2200)), "20", revision=n + 1)
        for item in (new, revised):
            points = apply_candle(folding, item)
            assert points == session_vwap.apply_candle(keeping, item, 1_000 * LATENESS)
            assert points
    assert [len(session.minutes) for session in folding.values()] == [15]
    assert [len(session.minutes) for session in keeping.values()] == [60]


def test_candles_that_are_written_a_second_time_change_nothing():
    candles = [minute(n, str(10 * n), str(n), session="regular") for n in range(1, 30)]
    candles += [minute(n, str(10 * n), str(n)) for n in range(30, 60)]
    candles += [minute(n, str(10 * n), str(n), session="closed") for n in range(60, 90)]
    sessions: SessionStates = {}
    once, again = (
        {point.window_start: point for item in candles for point in apply_candle(sessions, item)}
        for _ in range(2)
    )
    assert len(once) == 89
    assert len(again) == 15
    assert once | again == once


def test_candles_of_any_order_end_in_the_same_points():
    candles = [minute(n, str(10 * n), str(n)) for n in range(1, 9)]
    lasts = []
    for seed in range(5):
        sessions: SessionStates = {}
        Random(seed).shuffle(candles)
        points = [point for item in candles for point in apply_candle(sessions, item)]
        lasts.append({point.window_start: point for point in points})
    assert all(last == lasts[0] for last in lasts)


def test_the_page_shows_the_file_as_it_is():
    source = (ROOT / "examples" / "session_vwap.py").read_text()
    page = (ROOT / "docs" / "topology.md").read_text()
    assert f"```python\n{source}```" in page
