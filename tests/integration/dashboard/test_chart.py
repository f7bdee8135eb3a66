"""The chart: its first frame, older candles, the crosshair. No Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.contracts import CANDLES_TOPIC, ROLLUP_TOPICS, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.market.rollup_periods import DAY_MS
from app.settings import Settings
from tests.candle_maker import START, candle, publish_gold
from tests.integration.dashboard.conftest import PageTab, serving_app
from tests.unit.dashboard.conftest import NoThreads
from tests.unit.dashboard.test_days import MON, TUE, WED, gold_day, live_day

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
        page_tab.expect_text("cannot be loaded", "#notices")
        page_tab.tab.unroute_all()
        page_tab.expect_text("connected", "#link")
        page_tab.expect_no_text("cannot be loaded", "#notices")


def test_a_day_is_labelled_with_its_session_date_in_every_zone(
    tmp_path: Path, page_tab: PageTab
) -> None:
    """Midnight UTC, where it starts, is the evening before in New York; also the browser's zone."""
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
    days = [gold_day(day) for day in (MON, TUE, WED)]
    publish_gold(settings, "1.duckdb", candlestick_1d=days, kpi=[{"symbol": "AAPL"}])
    live = LiveCandles("replay")
    records = (encode(live_day(day)) for day in (TUE, WED))
    live.apply(ROLLUP_TOPICS["1d"], [TopicRecord(record, START) for record in records])
    page = Page(settings, live, GoldReader(settings), lambda: START)
    page.gold.refresh()
    page_tab.tab.add_init_script(KEEP_TEXTS)
    with serving_app(create_app(page, [NoThreads()], LOOPBACK_NAMES)) as url:
        page_tab.open(f"{url}/?symbol=AAPL&interval=1d").expect_candle_count(3)
        page_tab.tab.click("#table summary")
        for zone in ("exchange", "browser", "utc"):
            page_tab.tab.select_option("#zone", zone)
            page_tab.expect_text("Mar 6, 2024", "#legend")
            dates = page_tab.tab.locator("#table td:first-child").all_text_contents()
            assert dates == ["Mar 6, 2024", "Mar 5, 2024", "Mar 4, 2024"]
            assert dates_on_axis(page_tab) == ["Mar 4, 2024", "Mar 5, 2024", "Mar 6, 2024"]
    assert not page_tab.errors


def test_a_range_of_large_prices_is_one_line(
    app: Any, live: LiveCandles, page_tab: PageTab
) -> None:
    records = (candle(minute=m, close=close) for m, close in enumerate((93_120.5, 104_870.25)))
    live.apply(CANDLES_TOPIC, [TopicRecord(encode(record), START) for record in records])
    with opened(app, page_tab):
        page_tab.expect_text("104,870.25", "#tile-range .value")
        for width in (1600, 1440, 1200, 390):
            page_tab.tab.set_viewport_size({"width": width, "height": 900})
            assert page_tab.tab.evaluate(LINES_OF_RANGE) == 1, width


LINES_OF_RANGE = """() => {
    const text = document.createRange();
    text.selectNodeContents(document.querySelector("#tile-range .value"));
    return new Set([...text.getClientRects()].map(({ top }) => top)).size;
}"""


def dates_on_axis(page_tab: PageTab) -> list[str]:
    """The dates that the time axis shows while the pointer moves over the newest candles."""
    box = page_tab.tab.locator("#chart").bounding_box()
    page_tab.tab.evaluate("texts.clear()")
    for left in range(60, 260, 10):
        page_tab.tab.mouse.move(box["x"] + box["width"] - left, box["y"] + 100)
        page_tab.tab.evaluate("new Promise(requestAnimationFrame)")
    return sorted(text for text in page_tab.tab.evaluate("[...texts]") if "Mar" in text)


KEEP_TEXTS = """
    window.texts = new Set();
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        window.texts.add(text);
        return draw.call(this, text, ...place);
    };
"""
"""Keeps what the chart writes: its axes are canvases."""


def test_days_are_not_drawn_as_minutes_when_the_interval_changes(
    tmp_path: Path, page_tab: PageTab
) -> None:
    """A month of days would be 40,000 minutes."""
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
    live = LiveCandles("replay")
    midnight = START - START % DAY_MS
    for day in range(30):
        start = midnight + day * DAY_MS
        window = {"interval": "1d", "window_start": start, "window_end": start + DAY_MS}
        record = candle(session_date=f"2023-11-{day + 1:02}", **window)
        live.apply(ROLLUP_TOPICS["1d"], [TopicRecord(encode(record), START)])
    hold(live, 20)
    page = Page(settings, live, GoldReader(settings), lambda: START)
    with serving_app(create_app(page, [NoThreads()], LOOPBACK_NAMES)) as url:
        page_tab.open(f"{url}/?interval=1d").expect_candle_count(30)
        page_tab.tab.evaluate(COUNT_SLOTS)
        page_tab.tab.click("#interval button[value='1m']")
        page_tab.expect_candle_count(20)
        assert page_tab.tab.evaluate("Math.max(...slots)") == 20
        page_tab.tab.click("#table summary")
        page_tab.expect_text("22:33", "#table tbody")
        page_tab.tab.select_option("#zone", "browser")
        page_tab.expect_text("17:33", "#table tbody")
    assert not page_tab.errors


COUNT_SLOTS = """async () => {
    const { Plot } = await import("/static/plot.js");
    const draw = Plot.prototype.draw;
    window.slots = [];
    Plot.prototype.draw = function (slots, flashing) {
        window.slots.push(slots.length);
        draw.call(this, slots, flashing);
    };
}"""
"""Keeps the number of slots of each drawing."""


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
