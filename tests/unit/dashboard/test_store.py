"""The candle store: how final candles, partial candles and revisions replace each other."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from app.contracts import Candle
from app.dashboard.bar import Bar, UnusableCandle, bar_of
from app.dashboard.day import day_totals
from app.dashboard.store import CandleStore
from tests.candle_maker import MINUTE, START, candle, partial


def store_of(*candles: Candle, capacity: int = 1_500, max_symbols: int = 500) -> CandleStore:
    store = CandleStore(capacity, max_symbols)
    for record in candles:
        store.apply(record.symbol, bar_of(record, "replay"))
    return store


def closes(store: CandleStore, symbol: str = "AAPL") -> list[float]:
    series = store.series(symbol)
    return [bar.close for bar in series.newest(10_000)] if series else []


def test_a_final_replaces_a_partial_whatever_its_offset() -> None:
    store = store_of(partial(close=101, last_offset=9), candle(close=102, last_offset=3))
    assert closes(store) == [102]


def test_a_partial_of_a_minute_whose_final_is_held_is_ignored() -> None:
    store = store_of(candle(close=102, last_offset=3), partial(close=101, last_offset=9))
    assert closes(store) == [102]


def test_a_partial_with_a_lower_offset_than_held_is_ignored() -> None:
    store = store_of(partial(close=101, last_offset=9), partial(close=100, last_offset=8))
    assert closes(store) == [101]


def test_a_partial_with_the_same_offset_is_taken() -> None:
    """A watermark can change covered_ms, and a duplicate its count, without a new last trade."""
    store = store_of(partial(close=101, last_offset=9), partial(close=100, last_offset=9))
    assert closes(store) == [100]


def test_the_highest_revision_wins() -> None:
    revised = {"revision": 2, "status": "revised"}
    store = store_of(candle(close=1), candle(close=3, **revised), candle(close=2, revision=1))
    assert closes(store) == [3]


def test_a_repeated_record_is_no_change() -> None:
    store = store_of(candle(close=1), candle(close=1))
    assert store.version == 1


def test_in_a_new_incarnation_offsets_restart() -> None:
    store = store_of(partial(close=101, last_offset=900))
    store.begin_incarnation()
    store.apply("AAPL", bar_of(partial(close=102, last_offset=2), "replay"))
    assert closes(store) == [102]


@pytest.mark.parametrize(
    ("new_trades", "expected"), [(5, 101), (6, 102), (7, 102)], ids=["fewer", "tie", "more"]
)
def test_between_incarnations_more_trades_win_and_the_newer_on_ties(
    new_trades: int, expected: float
) -> None:
    store = store_of(candle(close=101, trade_count=6, revision=4))
    store.begin_incarnation()
    store.apply("AAPL", bar_of(candle(close=102, trade_count=new_trades), "replay"))
    assert closes(store) == [expected]


def test_only_the_newest_minutes_are_kept() -> None:
    store = store_of(*(candle(minute=m, close=m + 1) for m in (3, 1, 2, 0)), capacity=2)
    assert closes(store) == [3, 4]


def test_symbols_beyond_the_limit_are_dropped_and_counted() -> None:
    store = store_of(candle("A"), candle("B"), candle("C"), candle("A", 1), max_symbols=2)
    assert store.symbols() == ["A", "B"]
    assert store.dropped_count == 1


def test_the_newest_trading_day_begins_where_the_day_changes() -> None:
    days = ["2023-11-14"] * 2 + ["2023-11-15"] * 2
    series = store_of(*(candle(minute=m, session_date=d) for m, d in enumerate(days))).series(
        "AAPL"
    )
    assert series
    assert [bar.start for bar in series.session()] == [START + 2 * MINUTE, START + 3 * MINUTE]


def test_the_newest_final_minute_is_known() -> None:
    store = store_of(candle(minute=4), candle(minute=2), partial(minute=9))
    assert store.last_final_end == START + 5 * MINUTE


@pytest.mark.parametrize(
    "wrong",
    [
        {"feed": "live"},
        {"interval": "5m"},
        {"symbol": ""},
        {"symbol": "X" * 65},
        {"window_start": START + 1},
        {"window_start": -MINUTE},
        {"close": Decimal("1e999")},
        {"session_date": "today"},
    ],
    ids=str,
)
def test_a_candle_that_is_not_of_this_page_is_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(UnusableCandle):
        bar_of(candle(**({"notional": Decimal(1)} | wrong)), "replay")


def records() -> st.SearchStrategy[list[Candle]]:
    """Records of an incarnation: (minute, revision) and (minute, offset) determine a candle."""
    minutes = st.integers(0, 4)
    finals = st.builds(
        lambda minute, revision: candle(minute=minute, revision=revision, close=100 + revision),
        minutes,
        st.integers(0, 3),
    )
    partials = st.builds(
        lambda minute, offset: partial(minute=minute, last_offset=offset, close=200 + offset),
        minutes,
        st.integers(0, 5),
    )
    return st.lists(st.one_of(finals, partials), max_size=40)


def expected_closes(seen: list[Candle]) -> dict[int, float]:
    """What a reader holds after `seen`, computed for each minute from all of them."""
    held = {}
    for start in {record.window_start for record in seen}:
        of_minute = [record for record in seen if record.window_start == start]
        finals = [record for record in of_minute if record.revision is not None]
        best = max(
            finals or of_minute, key=lambda record: (record.revision or 0, record.last_offset)
        )
        held[start] = float(best.close)
    return held


@given(records(), st.randoms(use_true_random=False))
def test_the_order_of_the_two_topics_does_not_matter(seen: list[Candle], chance: object) -> None:
    shuffled = list(seen)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    series = store_of(*shuffled).series("AAPL")
    held = {bar.start: bar.close for bar in series.newest(99)} if series else {}
    assert held == expected_closes(seen)


@given(records(), records(), st.integers(1, 5))
def test_a_snapshot_and_later_changes_equal_a_new_snapshot(
    before: list[Candle], after: list[Candle], capacity: int
) -> None:
    """A page that has a snapshot and then only changes shows the same as a page that opens now."""
    store = store_of(*before, capacity=capacity)
    series = store.series("AAPL")
    shown: dict[int, Bar] = {bar.start: bar for bar in series.newest(99)} if series else {}
    version = series.version if series else 0
    for record in after:
        store.apply("AAPL", bar_of(record, "replay"))
    series = store.series("AAPL")
    if series is None:
        return
    shown |= {bar.start: bar for bar in series.since(version)}
    assert sorted(shown.values(), key=lambda bar: bar.start)[-len(series) :] == series.newest(99)
    assert len(series) <= capacity


@given(records(), st.integers(1, 5), st.booleans())
def test_the_day_is_what_its_bars_add_up_to_at_every_step(
    seen: list[Candle], capacity: int, regular: bool
) -> None:
    store = CandleStore(capacity)
    for record in seen:
        if regular:
            record.session = "pre" if record.window_start < START + 2 * MINUTE else "regular"
        store.apply("AAPL", bar_of(record, "replay"))
        series = store.series("AAPL")
        assert series
        day, expected = series.day(), day_totals(series.session())
        assert day
        assert expected
        assert day.volume == pytest.approx(expected.volume)
        assert day.notional == pytest.approx(expected.notional)
        assert structs.replace(day, volume=0, notional=0) == structs.replace(
            expected, volume=0, notional=0
        )
