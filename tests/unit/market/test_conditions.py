"""The table of sale conditions and what combinations of them mean."""

from __future__ import annotations

import json

import pytest

from app.market.conditions import CONDITIONS, PriceClass, eligibility
from app.market.sessions import Session


def test_the_table_equals_the_published_table(test_data):
    published = json.loads((test_data / "trade_conditions.json").read_text())["conditions"]
    assert len(CONDITIONS) == len(published) == 41
    for condition, row in zip(CONDITIONS, published, strict=True):
        assert condition.code == str(row["finnhub"])
        assert condition.high_low == (row["updates_high_low"] in ("Y", "?"))
        assert condition.last == (row["updates_last"] in ("Y", "?"))
        assert condition.volume == (row["updates_volume"] == "Y")


@pytest.mark.parametrize(
    ("codes", "session", "price_class"),
    [
        ((), "regular", PriceClass.LAST),
        (("1",), "regular", PriceClass.LAST),
        (("1", "12"), "regular", PriceClass.INELIGIBLE),
        (("30",), "regular", PriceClass.HIGH_LOW),
        (("15",), "regular", PriceClass.HIGH_LOW),
        (("24",), "regular", PriceClass.INELIGIBLE),
        (("24",), "pre", PriceClass.LAST),
        (("24",), "post", PriceClass.LAST),
        (("24", "12"), "pre", PriceClass.INELIGIBLE),
        (("25",), "post", PriceClass.INELIGIBLE),
        (("11",), "regular", PriceClass.LAST),
        (("41", "8"), "regular", PriceClass.LAST),
        (("99",), "regular", PriceClass.INELIGIBLE),
    ],
)
def test_the_most_restrictive_condition_wins(codes, session, price_class):
    rule = eligibility(codes, Session(session))
    assert rule.price_class == price_class
    assert rule.counts


@pytest.mark.parametrize("code", ["16", "20", "38", "39"])
def test_values_that_are_no_trades_do_not_count(code):
    assert not eligibility((code,), Session.REGULAR).counts
    assert not eligibility(("1", code), Session.POST).counts


def test_only_codes_outside_the_table_are_unknown():
    assert eligibility(("42",), Session.REGULAR).unknown
    assert not eligibility(("41",), Session.REGULAR).unknown
