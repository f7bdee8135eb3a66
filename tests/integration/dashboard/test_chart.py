"""The chart: its first frame, older candles, the crosshair. No Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.contracts import CANDLES_TOPIC, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.settings import Settings
from tests.candle_maker import START, candle
from tests.integration.dashboard.conftest import PageTab, serving_app
from tests.unit.dashboard.conftest import NoThreads

MOVE_LEFT = """(count) => {
    const chart = document.querySelector("#chart");
    chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
    return Number(chart.dataset.candles) === count;
}"""
"""Moves the chart once in each frame, until it has `count` candles."""


@pytest.fixture
def live() -> LiveCandles:
    return LiveCandles("replay", (CANDLES_TOPIC,))


@pytest.fixture
def app(tmp_path: Path, live: LiveCandles) -> Any:
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
    page = Page(settings, live, GoldReader(settings), lambda: START)
    return create_app(page, [NoThreads()], LOOPBACK_NAMES)


def hold(live: LiveCandles, minutes: int) -> None:
    records = (candle(minute=m, close=100 + m % 7) for m in range(minutes))
    live.apply(CANDLES_TOPIC, [TopicRecord(encode(record), START) for record in records])


@contextmanager
def opened(app: Any, page_tab: PageTab) -> Iterator[None]:
    """The page of `app` in the tab, connected, within the block."""
    with serving_app(app) as url:
        page_tab.open(url).expect_text("connected", "#link")
        yield


def requests(page_tab: PageTab) -> list[str]:
    """The paths that the tab asks for from now on."""
    paths: list[str] = []
    page_tab.tab.on("request", lambda request: paths.append(request.url.split("/", 3)[3]))
    return paths


def test_older_candles_are_not_asked_for_when_there_are_none(
    app: Any, live: LiveCandles, page_tab: PageTab
) -> None:
    hold(live, 20)
    paths = requests(page_tab)
    with opened(app, page_tab):
        page_tab.tab.focus("#chart")
        page_tab.tab.keyboard.press("ArrowLeft")
        page_tab.tab.wait_for_function("() => !document.querySelector('#latest').hidden")
    assert not [path for path in paths if path.startswith("api/candles")]


def test_older_candles_come_when_the_chart_is_moved_to_them(
    app: Any, live: LiveCandles, page_tab: PageTab
) -> None:
    hold(live, 620)
    with opened(app, page_tab):
        page_tab.expect_candle_count(500)
        page_tab.tab.wait_for_function(MOVE_LEFT, arg=620)


def test_the_chart_is_drawn_before_anything_else_is_loaded(
    app: Any, live: LiveCandles, page_tab: PageTab
) -> None:
    """Without the scripts of panels and event stream there is a chart."""
    hold(live, 20)
    for name in ("live", "panels", "stream"):
        page_tab.tab.route(f"**/static/{name}.js", lambda route: route.abort())
    with serving_app(app) as url:
        page_tab.tab.goto(url)  # not open(): there are no controls
        page_tab.expect_last_candle(105, "final")


def test_the_crosshair_is_painted_while_the_pointer_is_on_the_chart(
    app: Any, live: LiveCandles, page_tab: PageTab
) -> None:
    hold(live, 60)
    with opened(app, page_tab):
        assert page_tab.tab.evaluate(CROSSHAIR) == {"isShown": False, "isDrawn": False}
        page_tab.tab.hover("#chart")
        page_tab.tab.wait_for_function(f"() => ({CROSSHAIR})().isShown")
        page_tab.tab.hover("#chart", position={"x": 200, "y": 100})  # a pointer moves on
        page_tab.tab.wait_for_function(f"() => ({CROSSHAIR})().isDrawn")
        page_tab.tab.hover("h1")
        page_tab.tab.wait_for_function(f"() => !({CROSSHAIR})().isShown")


CROSSHAIR = """() => {
    const upper = document.querySelectorAll("#chart td:nth-child(2) canvas")[1];
    const pixels = upper.getContext("2d").getImageData(0, 0, upper.width, upper.height).data;
    return {
        isShown: getComputedStyle(upper).visibility === "visible",
        isDrawn: pixels.some((value) => value > 0),
    };
}"""
"""Whether the upper canvas of the prices is visible, and anything is drawn on it."""
