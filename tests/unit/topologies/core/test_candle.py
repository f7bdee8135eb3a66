"""Single behaviours of the candle core, among them known mistakes of other implementations."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, getcontext, localcontext

import pytest

from app.contracts import Watermark
from app.market.sessions import NEW_YORK
from tests.unit.topologies.feeder import BASE, GRACE, LATENESS, MINUTE, Feeder, only, trade
from topologies.core.candle import NO_OUTPUT


def test_a_watermark_exactly_at_the_end_makes_the_minute_final():
    feeder = Feeder()
    feeder.trades(trade(0))
    assert feeder.watermark(BASE + MINUTE - 1).records == []
    assert only(feeder.watermark(BASE + MINUTE).records).status == "final"


def test_a_trade_while_the_watermark_is_one_ms_below_end_and_allowed_lateness_is_a_revision():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE + LATENESS - 1)
    revised = only(feeder.trades(trade(1, p="11")).records)
    assert (revised.status, revised.revision, revised.late_count) == ("revised", 1, 1)


def test_a_trade_while_the_watermark_is_exactly_at_end_and_allowed_lateness_is_late():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE + LATENESS)
    outcome = feeder.trades(trade(1), trade(LATENESS + MINUTE))
    assert [(r.reason, r.indices) for r in outcome.rejections] == [("late", (0,))]
    assert outcome.records == []


def test_a_minute_that_was_past_when_first_received_of_is_final_at_once():
    feeder = Feeder()
    feeder.watermark(BASE + 5 * MINUTE)
    candle = only(feeder.trades(trade(0)).records)
    assert (candle.status, candle.revision, candle.late_count) == ("final", 0, 0)


def test_a_trade_one_hour_ahead_is_rejected_and_moves_nothing():
    feeder = Feeder()
    feeder.trades(trade(0))
    outcome = feeder.trades(trade(3_600_000), trade(10), received_at=BASE + 10)
    assert [(r.reason, r.indices) for r in outcome.rejections] == [("future", (0,))]
    assert feeder.candles.watermark == BASE + 10 - GRACE


def test_a_trade_ahead_of_its_arrival_moves_the_watermark_only_as_far_as_its_arrival():
    feeder = Feeder()
    feeder.trades(trade(60_000), received_at=BASE)
    assert feeder.candles.watermark == BASE - GRACE


def test_all_trades_of_a_message_are_applied_before_the_watermark_moves():
    feeder = Feeder()
    candle = only(feeder.trades(trade(LATENESS * 2), trade(0)).records)
    assert (candle.window_start, candle.trade_count) == (BASE, 1)


def test_sums_are_exact_however_many_digits_they_take_and_whatever_the_callers_context():
    with localcontext(prec=6) as callers:
        feeder = Feeder()
        feeder.trades(trade(0, p="0.000000000001", v="999999999999.999999999999"))
        feeder.trades(trade(1, p="99999.123456789012", v="0.000000000001"))
        candle = only(feeder.watermark(BASE + MINUTE).records)
        assert getcontext() is callers
    assert candle.volume == Decimal("1000000000000.000000000000")
    assert candle.notional == Decimal("1.000000099999123457")
    assert candle.vwap == 1.000000099999123457e-12


def test_two_sources_with_clocks_apart_wait_for_the_slower():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE + 30_000, "a")
    assert feeder.candles.watermark == BASE + MINUTE + 30_000
    feeder.watermark(BASE + MINUTE, "b")
    feeder.watermark(BASE + MINUTE + 31_000, "a")
    assert feeder.candles.watermark == BASE + MINUTE + 30_000  # never falls, waits for b
    feeder.watermark(BASE + MINUTE + 30_500, "b")
    assert feeder.candles.watermark == BASE + MINUTE + 30_500


def test_a_source_one_hour_ahead_closes_nothing_while_another_is_in_time():
    feeder, hour = Feeder(), 3_600_000
    feeder.watermark(BASE, "a")
    for second in range(0, 70_000, 1_000):
        at = BASE + second
        made = [
            feeder.trades(trade(second), received_at=at + hour, source="b"),
            feeder.watermark(at + hour - GRACE, "b"),
            feeder.trades(trade(second), received_at=at, source="a"),
            feeder.watermark(at - GRACE, "a"),
        ]
        assert not any(outcome.rejections for outcome in made)
        assert any(outcome.records for outcome in made) == (second == MINUTE + GRACE)
    assert feeder.candles.watermark == BASE + 69_000 - GRACE


def test_what_comes_after_a_lone_source_was_one_hour_ahead_is_rejected_and_recorded():
    feeder, hour = Feeder(), 3_600_000
    feeder.trades(trade(0))
    feeder.watermark(BASE + hour)
    outcome = feeder.trades(trade(1), trade(hour - LATENESS), received_at=BASE + hour)
    assert [(r.reason, r.indices) for r in outcome.rejections] == [("late", (0,))]
    assert only(outcome.records).window_start == BASE + hour - LATENESS


@pytest.mark.parametrize(("moved_on_ms", "waits"), [(149_999, True), (150_000, False)])
def test_a_source_that_died_falls_out_when_another_moved_on_150_s(moved_on_ms, waits):
    feeder = Feeder()
    feeder.watermark(BASE, "a")
    feeder.watermark(BASE - 30_000, "b")
    feeder.watermark(BASE + moved_on_ms, "a")
    assert feeder.candles.watermark == (BASE if waits else BASE + moved_on_ms)


def test_a_source_returns_with_its_next_watermark():
    feeder = Feeder()
    feeder.watermark(BASE, "a")
    feeder.watermark(BASE, "b")
    feeder.watermark(BASE + 200_000, "a")  # b falls out
    feeder.watermark(BASE + 190_000, "b")
    feeder.watermark(BASE + 210_000, "a")
    assert feeder.candles.watermark == BASE + 200_000
    feeder.watermark(BASE + 205_000, "b")
    assert feeder.candles.watermark == BASE + 205_000


def test_twin_prints_split_by_a_reconnect_count_once():
    feeder = Feeder()
    feeder.trades(trade(0, k=0))
    feeder.trades(trade(0, k=0))  # a new connection counts k from 0 again
    feeder.trades(trade(0, k=1))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.trade_count, candle.duplicate_count) == (2, 1)


def test_conditions_are_compared_normalised():
    feeder = Feeder()
    feeder.trades(
        trade(0, c=None), trade(0, c=[]), trade(1, c=["1", "12"]), trade(1, c=["12", "1"])
    )
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.trade_count, candle.duplicate_count) == (2, 2)


def test_equal_numbers_written_differently_are_one_print():
    feeder = Feeder()
    feeder.trades(trade(0, p="10.50", v="1"), trade(0, p="10.5", v="1.0"))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.trade_count, candle.duplicate_count) == (1, 1)


def test_a_quote_only_minute_is_a_candle_and_a_late_trade_replaces_its_prices():
    feeder = Feeder()
    feeder.quote(BASE + 30_000, "10")
    final = only(feeder.watermark(BASE + MINUTE).records)
    assert (final.price_source, final.open, final.volume, final.vwap) == ("quote", 10, 0, None)
    revised = only(feeder.trades(trade(10, p="11")).records)
    assert (revised.price_source, revised.open, revised.high, revised.low) == ("last", 11, 11, 11)
    assert (revised.status, revised.revision) == ("revised", 1)


def test_of_quotes_with_one_t_the_first_counts_and_quotes_move_no_watermark():
    feeder = Feeder()
    feeder.quote(BASE, "10")
    feeder.quote(BASE, "12")
    feeder.quote(BASE + 1000, "0")
    assert feeder.candles.watermark == 0
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.open, candle.high) == (10, 10)
    assert feeder.candles.counters == {"repeated_quote": 1, "unusable_quote": 1}


def test_a_minute_of_odd_lots_only_has_prices_of_its_ineligible_trades():
    feeder = Feeder()
    feeder.trades(trade(0, p="10", v="5", c=["12"]), trade(1, p="12", v="5", c=["1", "12"]))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.price_source, candle.open, candle.close) == ("ineligible", 10, 12)
    assert (candle.odd_lot_count, candle.odd_lot_volume, candle.eligible_count) == (2, 10, 0)


@pytest.mark.parametrize(("price_rule", "source"), [("sip", "quote"), ("all", "last")])
def test_a_minute_of_zero_volume_updates_only_has_volume_0_and_no_vwap(price_rule, source):
    feeder = Feeder(price_rule)
    feeder.trades(trade(0, p="10", v="0"), trade(1, p="12", v="0"))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.price_source, candle.open, candle.close) == (source, 10, 12)
    assert (candle.volume, candle.vwap, candle.trade_count) == (0, None, 0)
    assert candle.zero_volume_count == 2


@pytest.mark.parametrize("code", ["16", "20", "38", "39"])
def test_values_that_are_no_trades_change_no_candle_and_move_no_watermark(code):
    feeder = Feeder()
    outcome = feeder.trades(trade(0, c=[code]))
    assert outcome == NO_OUTPUT
    assert feeder.candles.watermark == 0
    assert not feeder.candles.windows
    under_all = Feeder("all")
    under_all.trades(trade(0, c=[code]))
    assert only(under_all.watermark(BASE + MINUTE).records).trade_count == 1


def test_a_minute_of_official_opens_and_closes_only_is_no_candle_and_beside_trades_they_are_none():
    feeder = Feeder()
    feeder.trades(trade(0, p="99", c=["20"]), trade(1, p="99", c=["16"]))
    feeder.trades(trade(MINUTE, p="10"), trade(MINUTE + 1, p="99", c=["1", "16"]))
    candle = only(feeder.watermark(BASE + 2 * MINUTE).records)
    assert (candle.window_start, candle.high, candle.trade_count) == (BASE + MINUTE, 10, 1)
    assert feeder.candles.counters["not_a_trade"] == 3


@pytest.mark.parametrize(
    ("moment", "session", "source"),
    [
        ("2013-10-08 04:00", "pre", "last"),
        ("2013-10-08 13:30", "regular", "ineligible"),
        ("2013-11-29 13:30", "post", "last"),  # a half day
        ("2013-11-29 17:30", "closed", "ineligible"),
        ("2013-11-28 10:00", "closed", "ineligible"),  # Thanksgiving
        ("2013-11-04 19:59", "post", "last"),  # the Monday after clocks went back
    ],
)
def test_form_t_sets_prices_before_and_after_hours(moment, session, source):
    at = round(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK).timestamp() * 1000) - BASE
    feeder = Feeder()
    feeder.trades(trade(at, c=["24"]))
    candle = only(feeder.watermark(BASE + at + MINUTE).records)
    assert (candle.session, candle.price_source) == (session, source)


@pytest.mark.parametrize(
    ("symbol", "v", "source"),
    [("OANDA:EUR_USD", "0", "quote"), ("BINANCE:BTCUSDT", "0.000125", "last")],
)
def test_prints_without_codes_around_the_clock(symbol, v, source):
    feeder = Feeder(symbol=symbol)
    at = 12 * 3_600_000  # New York sleeps
    feeder.trades(trade(at, p="1.1", v=v, c=None), trade(at + 1, p="1.2", v=v, c=None))
    candle = only(feeder.watermark(BASE + at + MINUTE).records)
    assert (candle.session, candle.price_source) == ("continuous", source)
    assert (candle.open, candle.close, candle.volume) == (
        Decimal("1.1"),
        Decimal("1.2"),
        2 * Decimal(v),
    )


def test_form_t_sets_prices_before_and_after_hours_only():
    regular, post = Feeder(), Feeder()
    regular.trades(trade(0, p="10"), trade(1, p="99", c=["24"]))
    assert only(regular.watermark(BASE + MINUTE).records).high == 10
    seven_hours = 7 * 3_600_000
    post.trades(trade(seven_hours, p="10"), trade(seven_hours + 1, p="99", c=["24"]))
    candle = only(post.watermark(BASE + seven_hours + MINUTE).records)
    assert (candle.session, candle.high, candle.price_source) == ("post", 99, "last")


def test_high_and_low_come_from_trades_that_may_not_set_open_and_close():
    feeder = Feeder()
    feeder.trades(
        trade(0, p="20", c=["30"]),
        trade(1, p="10"),
        trade(2, p="5", c=["30"]),
        trade(3, p="1", c=["12"]),
    )
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.open, candle.high, candle.low, candle.close) == (10, 20, 5, 10)


def test_of_ties_the_first_accepted_opens_and_the_last_accepted_closes():
    feeder = Feeder()
    feeder.trades(trade(5, p="10"), trade(5, p="11"))
    feeder.trades(trade(5, p="12"), trade(5, p="13"))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.open, candle.close) == (10, 13)


def test_coverage_is_the_largest_of_the_sources_newest_values_and_a_correction_is_a_revision():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + 50_000, "a", BASE, 50_000)
    feeder.watermark(BASE + 50_000, "b", BASE, 20_000)
    final = feeder.watermark(BASE + MINUTE, "a", BASE, 60_000).records
    assert final == []  # b is still behind
    assert only(feeder.watermark(BASE + MINUTE, "b", BASE, 30_000).records).covered_ms == 60_000
    corrected = only(feeder.watermark(BASE + MINUTE, "a", BASE, 10_000).records)
    assert (corrected.covered_ms, corrected.revision, corrected.late_count) == (30_000, 1, 0)
    assert feeder.watermark(BASE + MINUTE, "a", BASE, 5_000).records == []  # 30 s of b still hold


def final_minutes(feeder: Feeder, count: int) -> None:
    """Leave that many final minutes, each of one trade; the second of the last message is 300."""
    for number in range(count):
        feeder.trades(trade(number * MINUTE))
    feeder.watermark(BASE + count * MINUTE, received_at=BASE + 300_000)


def covered(feeder: Feeder, ms: int, covered_ms: int, minute=0):
    """Report how much of a final minute a source covered; return the records that follow."""
    t = feeder.candles.watermark
    start = BASE + minute * MINUTE
    return feeder.watermark(t, minute=start, covered=covered_ms, received_at=BASE + ms).records


def test_coverage_that_changes_many_times_a_second_is_one_revision_a_second():
    feeder = Feeder()
    final_minutes(feeder, 1)
    made = [covered(feeder, 300_000 + ms, ms) for ms in range(0, 40_000, 100)]
    seconds = [number // 10 for number, records in enumerate(made) if records]
    assert seconds == list(range(40))
    assert [only(records).revision for records in made if records] == list(range(1, 41))


def test_the_newest_coverage_is_written_with_the_symbols_next_message_in_a_later_second():
    feeder = Feeder()
    final_minutes(feeder, 1)
    assert only(covered(feeder, 300_000, 10_000)).covered_ms == 10_000
    assert covered(feeder, 300_400, 20_000) == []
    assert covered(feeder, 300_800, 30_000) == []
    revised = only(feeder.trades(trade(301_000)).records)
    assert (revised.window_start, revised.covered_ms, revised.revision) == (BASE, 30_000, 2)
    assert (revised.status, revised.last_offset) == ("revised", feeder.offset - 1)
    assert feeder.trades(trade(302_000)).records == []


def test_coverage_waits_for_a_later_second_not_for_an_earlier_one():
    feeder = Feeder()
    final_minutes(feeder, 1)
    covered(feeder, 300_000, 10_000)
    assert covered(feeder, 299_000, 20_000) == []
    assert only(covered(feeder, 301_000, 20_000)).covered_ms == 20_000


def test_coverage_that_changed_back_before_it_was_written_is_no_revision():
    feeder = Feeder()
    final_minutes(feeder, 1)
    covered(feeder, 300_000, 10_000)
    covered(feeder, 300_100, 20_000)
    assert covered(feeder, 300_200, 10_000) == []
    assert feeder.trades(trade(301_000)).records == []


def test_a_revision_for_a_late_trade_waits_for_no_second_and_carries_the_newest_coverage():
    feeder = Feeder()
    final_minutes(feeder, 1)
    covered(feeder, 300_000, 10_000)
    covered(feeder, 300_100, 20_000)
    revised = only(feeder.trades(trade(1, p="11"), received_at=BASE + 300_200).records)
    assert (revised.covered_ms, revised.high, revised.revision) == (20_000, 11, 2)
    assert feeder.trades(trade(301_000)).records == []


def test_coverage_of_several_minutes_that_changes_within_a_second_is_written_together():
    feeder = Feeder()
    final_minutes(feeder, 3)
    assert len(covered(feeder, 300_000, 10_000, minute=0)) == 1
    assert covered(feeder, 300_000, 10_000, minute=1) == []
    assert covered(feeder, 300_000, 10_000, minute=2) == []
    records = feeder.trades(trade(301_000)).records
    assert [(c.window_start - BASE, c.covered_ms) for c in records] == [
        (MINUTE, 10_000),
        (2 * MINUTE, 10_000),
    ]


def test_coverage_is_written_before_its_minute_can_change_no_more():
    feeder = Feeder()
    final_minutes(feeder, 1)
    covered(feeder, 300_000, 10_000)
    covered(feeder, 300_100, 20_000)
    last = feeder.watermark(BASE + MINUTE + LATENESS, received_at=BASE + 300_200).records
    assert (only(last).covered_ms, only(last).revision) == (20_000, 2)
    assert not feeder.candles.windows


def test_a_source_that_was_away_long_covered_nothing_of_the_minutes_it_names():
    feeder = Feeder()
    feeder.watermark(BASE, "a", BASE, 20_000)
    feeder.trades(trade(0), trade(MINUTE), trade(2 * MINUTE), source="b")
    gap = Watermark(
        "SPY", "live", "a", BASE + 3 * MINUTE, BASE + 3 * MINUTE, BASE + 2 * MINUTE, 0, BASE + 1
    )
    records = feeder.send(gap).records
    assert [(c.window_start - BASE, c.covered_ms) for c in records] == [
        (0, 0),
        (MINUTE, 0),
        (2 * MINUTE, 0),
    ]
    late = only(feeder.trades(trade(MINUTE + 1), source="b").records)
    assert (late.revision, late.covered_ms) == (1, 0)


def test_a_source_that_was_away_for_years_is_no_endless_work():
    feeder = Feeder()
    feeder.send(Watermark("SPY", "live", "a", BASE, BASE - LATENESS, BASE, 0, 631_152_000_000))
    assert len(feeder.candles.coverage) == LATENESS // MINUTE + 1


def test_at_most_one_revision_per_candle_and_message():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE)
    revised = only(feeder.trades(trade(1), trade(2), trade(3)).records)
    assert (revised.revision, revised.trade_count, revised.late_count) == (1, 4, 3)


def test_a_duplicate_of_a_closed_minute_writes_no_record_but_is_counted_in_the_next():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE)
    assert feeder.trades(trade(0)).records == []
    assert only(feeder.trades(trade(1)).records).duplicate_count == 1


def test_partials_are_written_once_a_tenth_of_a_second_and_by_watermarks_too():
    feeder = Feeder()
    assert only(feeder.trades(trade(0), received_at=BASE).partials).trade_count == 1
    assert feeder.trades(trade(1), received_at=BASE + 99).partials == []
    assert only(feeder.watermark(BASE, received_at=BASE + 100).partials).trade_count == 2
    assert feeder.watermark(BASE, received_at=BASE + 1000).partials == []


def test_a_watermark_leaves_no_trade_for_the_next_one_to_show():
    feeder = Feeder()
    feeder.trades(trade(0), received_at=BASE)
    assert feeder.trades(trade(1), received_at=BASE + 10).partials == []
    assert only(feeder.watermark(BASE, received_at=BASE + 20).partials).trade_count == 2
    assert feeder.trades(trade(2), received_at=BASE + 30).partials == []
    assert only(feeder.watermark(BASE, received_at=BASE + 1020).partials).trade_count == 3


def test_a_symbol_that_left_and_comes_back_keeps_its_watermark():
    feeder = Feeder()
    feeder.trades(trade(0))
    feeder.watermark(BASE + MINUTE + LATENESS)
    assert not feeder.candles.windows
    outcome = feeder.trades(trade(0), received_at=BASE + 2 * LATENESS)
    assert [r.reason for r in outcome.rejections] == ["late"]
    feeder.trades(trade(2 * LATENESS))
    assert only(feeder.watermark(BASE + 2 * LATENESS + MINUTE).records).trade_count == 1


@pytest.mark.parametrize(
    ("symbol", "feed", "ms", "session"),
    [
        ("SPY", "live", 0, "regular"),
        ("SPY", "live", -1, "pre"),
        ("SPY", "live", 6 * 3_600_000 + 1_800_000, "post"),
        ("SPY", "live", 12 * 3_600_000, "closed"),
        ("SPY", "simulated", 0, "continuous"),
        ("BINANCE:BTCUSDT", "live", 0, "continuous"),
        ("GC201312", "replay", 0, "continuous"),
    ],
)
def test_a_minute_belongs_to_its_session(symbol, feed, ms, session):
    feeder = Feeder(symbol=symbol, feed=feed)
    feeder.trades(trade(ms))
    assert only(feeder.watermark(BASE + ms + MINUTE).records).session == session


def test_vwap_is_the_nearest_double_and_sums_are_exact():
    feeder = Feeder()
    feeder.trades(trade(0, p="0.1", v="3"), trade(1, p="0.2", v="0.1"))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert candle.volume == Decimal("3.1")
    assert candle.notional == Decimal("0.32")
    assert candle.vwap == 0.32 / 3.1


def test_an_unknown_condition_counts_volume_only_and_is_tallied():
    feeder = Feeder()
    feeder.trades(trade(0, p="10"), trade(1, p="99", c=["77"]))
    candle = only(feeder.watermark(BASE + MINUTE).records)
    assert (candle.high, candle.volume) == (10, 200)
    assert feeder.candles.counters["unknown_condition"] == 1


def test_a_quote_that_changes_nothing_is_saved_as_received_all_the_same():
    feeder = Feeder()
    feeder.quote(BASE + 2000, "10")
    feeder.quote(BASE, "10")
    feeder.candles.touched.clear()
    feeder.quote(BASE + 1000, "10")  # neither first nor last nor beyond the range
    assert feeder.candles.touched == {BASE}


@pytest.mark.parametrize(("after_ms", "candles"), [(LATENESS - 1, 1), (LATENESS, 0)])
def test_a_quote_that_was_old_when_it_came_opens_no_candle(after_ms, candles):
    feeder = Feeder()
    feeder.quote(BASE, "10", received_at=BASE + MINUTE + after_ms)
    assert len(feeder.candles.windows) == candles
