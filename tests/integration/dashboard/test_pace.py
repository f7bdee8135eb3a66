"""Draws at a bounded rate, in Chromium, whose clock the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.dashboard.routes import STATIC

START = datetime(2026, 1, 5, tzinfo=UTC)
PACED = """async () => {
    const { paced } = await import("/static/pace.js");
    const began = Date.now();
    window.drawn = [];
    window.request = paced(() => window.drawn.push(Date.now() - began), 500);
}"""


@pytest.fixture
def drawn(browser: Any) -> Iterator[Callable[..., list[int]]]:
    """Requests draws at times, ms after the first one; returns when there was one until `end`."""
    tab = browser.new_page()
    tab.route("**/*", lambda route: route.fulfill(body="", content_type="text/html"))
    tab.route("**/static/pace.js", lambda route: route.fulfill(path=STATIC / "pace.js"))
    tab.clock.install(time=START)
    tab.goto("http://page.test/")
    tab.clock.pause_at(datetime(2026, 1, 6, tzinfo=UTC))
    tab.evaluate(PACED)

    def draws(requests: list[int], end: int) -> list[int]:
        now = 0
        for at in requests:
            tab.clock.run_for(at - now)
            tab.evaluate("request()")
            now = at
        tab.clock.run_for(end - now)
        found: list[int] = tab.evaluate("drawn")
        return found

    yield draws
    tab.close()


@pytest.mark.parametrize(
    ("requests", "times"),
    [
        ([0], [0]),
        ([0, 100, 200], [0, 650]),
        ([0, 100, 550], [0, 550]),
        ([0, 600], [0, 600]),
        ([0, 100, 700, 1_400], [0, 650, 1_300, 1_950]),
    ],
    ids=[
        "at once",
        "the last of several is not lost",
        "it is made up for in the next one after the interval",
        "after the interval at once again",
        "never twice within the interval",
    ],
)
def test_paced(drawn: Callable[..., list[int]], requests: list[int], times: list[int]) -> None:
    assert drawn(requests, 5_000) == times
