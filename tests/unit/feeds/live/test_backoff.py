"""How long to wait before connecting again."""

from __future__ import annotations

from random import Random

import pytest

from app.feeds.live.backoff import Backoff


def test_the_first_try_is_at_once_and_the_others_ever_later_up_to_a_minute() -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s() for _ in range(20)]
    assert waits_s[0] == 0
    assert all(2**n / 2 <= wait_s <= 2**n for n, wait_s in enumerate(waits_s[1:6]))
    assert all(30 <= wait_s <= 60 for wait_s in waits_s[8:])


def test_a_connection_that_proved_itself_is_replaced_at_once() -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s() for _ in range(5)]
    backoff.reset()
    assert backoff.next_s() == 0 < waits_s[-1]


def test_waits_are_jittered() -> None:
    assert len({tuple(_waits(seed)) for seed in range(10)}) == 10


def _waits(seed: int) -> list[float]:
    backoff = Backoff(Random(seed))
    return [backoff.next_s() for _ in range(3)]


@pytest.mark.parametrize(("status", "least_s"), [(429, 30.0), (502, 2.5)])
def test_a_server_in_trouble_is_left_alone_for_longer(status: int, least_s: float) -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s(status) for _ in range(20)]
    assert waits_s[0] >= least_s
    assert 150 <= max(waits_s) <= 300


@pytest.mark.parametrize("status", [None, 302, 429, 502, 503])
@pytest.mark.parametrize("attempts", [0, 1, 20])
def test_no_attempt_is_made_before_the_server_allows_one(status: int, attempts: int) -> None:
    waits_s = set()
    for seed in range(20):
        backoff = Backoff(Random(seed))
        for _ in range(attempts):
            backoff.next_s()
        waits_s.add(backoff.next_s(status, 400_000))
    assert all(400 <= wait_s <= 440 for wait_s in waits_s)
    assert len(waits_s) == 20, "they are jittered"


def test_a_server_that_is_soon_there_again_is_asked_soon_and_then_ever_later() -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s(429, 2_000) for _ in range(20)]
    assert 2 <= waits_s[0] <= 2.2
    assert max(waits_s) > 30
