"""The feed's lag and the machine's clock, judged by the trades."""

from __future__ import annotations

from app.feeds.skew import Skew

NOW = 1_731_600_060_000


def _observed(*lags_ms: int, skew: Skew | None = None) -> tuple[Skew, int]:
    skew = skew or Skew()
    return skew, skew.observe([NOW - lag for lag in lags_ms], NOW)


def test_a_clock_within_two_seconds_is_left_alone() -> None:
    skew, behind = _observed(-2000, -2000, -2000)
    assert behind == 0
    assert skew.newest_t(NOW) == NOW


def test_a_clock_that_is_behind_is_moved_by_the_median_once() -> None:
    skew, behind = _observed(-3_600_000, -3_600_100, -3_599_000)
    assert behind == 3_600_000
    assert skew.observe([NOW + 3_600_000], NOW + 3_600_000) == 0


def test_one_or_two_trades_move_no_clock() -> None:
    assert _observed(-3_600_000)[1] == 0
    assert _observed(-3_600_000, -3_600_000)[1] == 0


def test_a_minority_of_wrong_times_moves_no_clock() -> None:
    assert _observed(*[100] * 51, *[-3_600_000] * 49)[1] == 0


def test_only_the_last_hundred_trades_count() -> None:
    skew, _ = _observed(*[100] * 1000)
    assert _observed(*[-5000] * 60, skew=skew)[1] == 5000


def test_a_late_feed_has_told_no_further_than_its_newest_trade() -> None:
    skew, behind = _observed(10_000, 9_000, 12_000)
    assert behind == 0
    assert skew.lag_ms(NOW) == 10_000
    assert skew.newest_t(NOW + 5_000) == NOW - 9_000


def test_the_first_trade_alone_shows_a_late_feed() -> None:
    skew, behind = _observed(3_600_000)
    assert behind == 0
    assert skew.newest_t(NOW + 1_000) == NOW - 3_600_000


def test_a_late_feed_that_falls_silent_has_told_all() -> None:
    skew, _ = _observed(10_000, 10_000, 10_000)
    assert skew.newest_t(NOW + 70_000) == NOW - 10_000
    assert skew.newest_t(NOW + 70_001) == NOW + 70_001


def test_single_late_reports_hold_up_nothing() -> None:
    skew, _ = _observed(100, 100, 100, 600_000)
    assert skew.newest_t(NOW) == NOW
