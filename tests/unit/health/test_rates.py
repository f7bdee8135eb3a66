"""Messages per second between two observations."""

from __future__ import annotations

from app.health.rates import Counts, rates

NOW = 1_790_000_000_000


def test_a_rate_is_what_went_through_since_the_observation_before() -> None:
    before = Counts(NOW, {"feed": 1_000, "candles": 990})
    after = Counts(NOW + 10_000, {"feed": 1_400, "candles": 990, "archive": 5})
    assert rates(before, after) == {"feed": 40, "candles": 0}


def test_the_first_observation_and_recreated_topics_have_no_rate() -> None:
    counts = Counts(NOW, {"feed": 1_000})
    assert rates(None, counts) == {}
    assert rates(counts, Counts(NOW + 10_000, {"feed": 3})) == {}
    assert rates(counts, counts) == {}
