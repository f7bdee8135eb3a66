"""Rows that break a rule are set aside with the reason; all other rows go on to gold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.settings import Settings
from app.warehouse.transform import PROJECT
from tests.integration.warehouse.conftest import Filled, Rows, rising
from tests.integration.warehouse.lake_writer import START, candle, quote, trade, watermark

BROKEN_CANDLES: dict[str, Rows] = {
    "is_complete": [
        candle("C1", 1, "10 12 9 11", open=None),
        candle("C2", 1, "10 12 9 11", session_date="2024-02-30"),
        candle("C4", 1, "10 12 9 11", close_time=None),
    ],
    "interval_is_known": [candle("C5", 1, "10 12 9 11", candle_interval="7m")],
    "low_is_lowest": [
        candle("AAPL", 6, "10 12 11 11"),
        candle("C6", 1, "10 9 12 10", vwap=10.0),
    ],
    "high_is_highest": [candle("C7", 1, "10 9 8 9", vwap=9.0)],
    "prices_are_positive": [
        candle("C8", 1, "10 12 -1 11", vwap=10.0),
        candle("C9", 1, "0 0 0 0", vwap=10.0),
    ],
    "window_fits_its_interval": [
        candle("CA", 1, "10 12 9 11", window_end=START + timedelta(minutes=3)),
        candle(
            "CB", 1, "10 12 9 11", candle_interval="5m", window_end=START + timedelta(minutes=30)
        ),
    ],
    "session_is_known": [candle("CC", 1, "10 12 9 11", session="lunch")],
    "session_date_is_that_of_the_window": [
        candle("CD", 1, "10 12 9 11", session_date="2030-01-02")
    ],
    "sums_are_in_range": [
        candle("CE", 1, "10 12 9 11", notional=Decimal(10) ** 17, vwap=10.0),
        candle(
            "CP", 1, "10 12 9 11", volume="100000000000000000000", notional=Decimal(1), vwap=10.0
        ),
        candle("CF", 1, "10 12 9 11", notional=Decimal(-1), vwap=10.0),
    ],
    "counts_are_in_range": [candle("CG", 1, "10 12 9 11", late_count=2_000_000_000)],
    "counts_are_within_trades": [candle("CH", 1, "10 12 9 11", eligible_count=4)],
    "volume_needs_trades": [candle("CI", 1, "10 12 9 11", volume="0")],
    "vwap_is_null_only_at_volume_0": [candle("CJ", 1, "10 12 9 11", vwap=None)],
    "vwap_is_a_price": [candle("CK", 1, "10 12 9 11", vwap=float("inf"))],
    "vwap_is_within_the_range_where_every_trade_may_set_it": [
        candle("CL", 1, "10 12 9 11", vwap=99.0)
    ],
    "price_source_is_known": [candle("CM", 1, "10 12 9 11", price_source="guess")],
    "status_is_known": [candle("CN", 1, "10 12 9 11", status="partial")],
    "covered_is_within_the_window": [candle("CO", 1, "10 12 9 11", covered_ms=60_001)],
}
BROKEN_TRADES = {
    "is_complete": [trade("T1", 1, "10", received_at=None)],
    "price_is_positive": [trade("T2", 1, "0")],
    "size_is_not_negative": [trade("T3", 1, "10", "-1")],
    "notional_is_price_times_size": [trade("T4", 1, "10", notional=Decimal(1))],
    "session_is_known": [trade("T5", 1, "10", session="lunch")],
    "session_date_is_that_of_the_trade": [trade("T6", 1, "10", session_date="2030-01-02")],
}
BROKEN_QUOTES = {
    "is_complete": [quote("Q1", 1, "10", "8", session_date="2024-02-30")],
    "session_date_is_that_of_the_quote": [quote("Q3", 1, "10", "8", session_date="2030-01-02")],
}
BROKEN_COVERAGE = {
    "covered_is_within_the_minute": [watermark("W2", 60, covered_ms=-1)],
}
BROKEN: dict[str, dict[str, Rows]] = {
    "candles": BROKEN_CANDLES,
    "trades": BROKEN_TRADES,
    "quotes": BROKEN_QUOTES,
    "coverage": BROKEN_COVERAGE,
}


@pytest.fixture(scope="module")
def quarantined(lake_settings: Callable[..., Settings]) -> Filled:
    """A warehouse that was built before a load with every kind of bad row, and again after it."""
    filled = Filled(lake_settings())
    filled.lake.put("candles", rising("AAPL", range(5)))
    filled.load_and_build()
    for dataset, rules in BROKEN.items():
        filled.lake.put(dataset, [row for rows in rules.values() for row in rows])
    filled.lake.put("candles", rising("AAPL", range(5, 6)))
    filled.lake.put("candles", rising("MSFT", range(3)))
    filled.lake.put("trades", [trade("MSFT", 1, "10")])
    filled.load_and_build()
    return filled


def counted(rows: Rows) -> dict[tuple[Any, ...], int]:
    return dict(Counter((row["dataset"], row["reason"]) for row in rows))


@pytest.mark.timeout(900)  # two builds
def test_each_bad_row_is_set_aside_with_the_rule_it_breaks(quarantined: Filled) -> None:
    found = quarantined.warehouse("select dataset, reason from gold.gold_quarantine")

    assert counted(found) == {
        (dataset, rule): len(rows)
        for dataset, rules in BROKEN.items()
        for rule, rows in rules.items()
    }


def test_there_is_a_bad_row_for_every_rule() -> None:
    text = (PROJECT / "macros" / "row_rules.sql").read_text()

    assert set(re.findall(r"^ {12}'(\w+)':", text, re.M)) == {
        rule for rules in BROKEN.values() for rule in rules
    }


def test_all_other_rows_are_in_gold(quarantined: Filled) -> None:
    minutes = quarantined.gold(
        "select symbol, count(*) as n from gold.gold_candlestick group by all order by 1"
    )
    rollups = quarantined.gold("select distinct symbol from gold.gold_candlestick_5m order by 1")
    trades = quarantined.warehouse("select symbol from silver.silver_trades")

    assert [tuple(row.values()) for row in minutes] == [("AAPL", 6), ("MSFT", 3)]
    assert [row["symbol"] for row in rollups] == ["AAPL", "MSFT"]
    assert [row["symbol"] for row in trades] == ["MSFT"]


def test_the_rows_set_aside_are_counted_and_published(quarantined: Filled) -> None:
    (day,) = quarantined.gold("select * from gold.gold_data_quality where symbol = 'AAPL'")
    (alone,) = quarantined.gold("select * from gold.gold_data_quality where symbol = 'T2'")
    (row,) = quarantined.gold("select * from gold.gold_quarantine where symbol = 'AAPL'")

    assert (day["candle_count"], day["quarantined_count"]) == (6, 1)
    assert (alone["candle_count"], alone["trade_count"], alone["quarantined_count"]) == (0, 0, 1)
    assert (row["candle_interval"], row["reason"]) == ("1m", "low_is_lowest")
    assert row["content"].startswith("open 10.0")
    assert row["object_key"].startswith("bronze/candles/")


def test_a_later_record_that_follows_the_rules_resolves_a_bad_candle(quarantined: Filled) -> None:
    revised = {"revision": 1, "status": "revised"}
    quarantined.lake.put("candles", [candle("AAPL", 6, "10 12 9 11", **revised)])
    quarantined.load_and_build()

    (row,) = quarantined.warehouse("select * from gold.gold_quarantine where symbol = 'AAPL'")
    assert row["is_resolved"]
    assert quarantined.gold("select * from gold.gold_quarantine where symbol = 'AAPL'") == []
    (minute,) = quarantined.gold(
        "select * from gold.gold_candlestick where symbol = 'AAPL' "
        "order by candle_time desc limit 1"
    )
    assert (minute["candle_low"], minute["revision"]) == (9, 1)
