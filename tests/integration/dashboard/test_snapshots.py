"""The page as it is drawn: its boxes and a coarse picture, compared with committed ones.

Text is set in a font whose letters are all the same box, so that no font of a machine matters.
`TICKHOUSE_TEST_SNAPSHOTS=write` writes what is found instead; see README.md in `snapshots`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.dashboard.routes import STATIC
from app.settings import Settings
from tests.integration.dashboard.coarse_picture import Pictures
from tests.integration.dashboard.conftest import PageTab, serving_app
from tests.integration.dashboard.fixed_market import NOW, FixedMarket

FOLDER = Path(__file__).parent / "snapshots"
WRITES = os.environ.get("TICKHOUSE_TEST_SNAPSHOTS") == "write"
DIFFERENT_SHARE = 0.02
BOX_PX = 12
"""How far an edge may be from where it was, beside 2 % of the page's size."""
PANELS = (
    *("header", "#pipeline", "#replay", "#notices", "#tiles", "#watchlist", "#candles"),
    *("#market", "#gauges", "#rejections", "footer"),
)
INSIDE = ("#legend", "#chart", "#treemap", "#interval")
BOX_FONT = """
@font-face { font-family: Box; src: url("/static/box.ttf"); }
:root, code { font-family: Box !important; }
"""
RECTANGLES = """(selectors) => Object.fromEntries(selectors.map((selector) => {
    const { left, top, right, bottom } = document.querySelector(selector).getBoundingClientRect();
    return [selector, [left, top, right, bottom].map(Math.round)];
}))"""

AFTER_THE_FONT = 'await document.fonts.load("15px Box");\n'
"""The chart measures its text once: main.js waits for the font."""

SET_STYLE = "([selector, style]) => { document.querySelector(selector).style = style; }"
FAULTS = (
    ("#rejections", "display: none"),
    ("#gauges", "margin-top: -40px"),
    ("#watchlist", "width: 300px"),
    ("#treemap", "visibility: hidden"),
    ("#chart", "visibility: hidden"),
)

Boxes = dict[str, list[int]]


class Snapshots:
    """Opens the page of a market that stands still, and compares what it draws."""

    def __init__(self, browser: Any, settings: Settings, folder: Path) -> None:
        self.market = FixedMarket(settings)
        self._browser = browser
        self._folder = folder
        self.context: Any = None

    def open(self, url: str, width: int, theme: str) -> PageTab:
        """A tab that shows the page at `width`, its clock stopped and nothing moving."""
        self.context = self._browser.new_context(
            viewport={"width": width, "height": 900 if width < 2000 else 1300},
            timezone_id="America/New_York",
            locale="en-US",
            color_scheme=theme,
            reduced_motion="reduce",
        )
        tab = PageTab(self.context.new_page())
        changed = {
            "tokens.css": ("text/css", (STATIC / "tokens.css").read_text() + BOX_FONT),
            "main.js": ("text/javascript", AFTER_THE_FONT + (STATIC / "main.js").read_text()),
        }
        for name, (kind, body) in changed.items():
            tab.tab.route(f"**/{name}", partial(_fulfill, kind, body))
        tab.tab.route("**/box.ttf", lambda route: route.fulfill(path=FOLDER / "box.ttf"))
        tab.tab.clock.set_fixed_time(datetime.fromtimestamp(NOW / 1000, UTC))
        return tab.open(url)

    def check(self, name: str, tab: PageTab) -> None:
        """Compare boxes and picture with the committed ones of `name`."""
        boxes: Boxes = tab.tab.evaluate(RECTANGLES, [*PANELS, *INSIDE])
        screenshot = self._still(tab.tab)
        (self._folder / f"{name}.png").write_bytes(screenshot)
        own = self.context.new_page()
        pictures = Pictures(own)
        coarse = pictures.coarse(screenshot)
        check_arrangement(boxes, tab.tab.viewport_size["width"])
        if WRITES:
            (FOLDER / f"{name}.png").write_bytes(coarse)
            (FOLDER / f"{name}.json").write_text(json.dumps(boxes, indent=1) + "\n")
        check_boxes(msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Boxes), boxes)
        share = pictures.difference(FOLDER / f"{name}.png", coarse)
        own.close()
        assert share <= DIFFERENT_SHARE, (
            f"{share:.1%} of {name} looks different: compare {self._folder / name}.png with "
            f"{FOLDER / name}.png"
        )
        assert not tab.errors

    @staticmethod
    def _still(tab: Any) -> bytes:
        """A screenshot, as soon as two in a row are the same."""
        before, picture = b"", tab.screenshot(full_page=True)
        while before != picture:
            before, picture = picture, tab.screenshot(full_page=True)
        return bytes(picture)


def _fulfill(kind: str, body: str, route: Any) -> None:
    route.fulfill(body=body, content_type=kind)


def visible(boxes: Boxes) -> Boxes:
    return {name: box for name, box in boxes.items() if box[2] > box[0] and box[3] > box[1]}


def check_arrangement(boxes: Boxes, width: int) -> None:
    """No panel covers another one, or reaches out of the page."""
    shown = visible({name: boxes[name] for name in PANELS})
    for name, (left, _, right, _) in shown.items():
        assert left >= 0, name
        assert right <= width, name
    for (first, a), (second, b) in combinations(shown.items(), 2):
        is_beside = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert is_beside, f"{first} and {second} overlap"


def check_boxes(expected: Boxes, found: Boxes) -> None:
    """The same elements are shown, about where they were."""
    assert visible(found).keys() == visible(expected).keys()
    size = max(edge for box in expected.values() for edge in box)
    limit = BOX_PX + size // 50
    moved = {
        name: (box, found[name])
        for name, box in expected.items()
        if max(abs(a - b) for a, b in zip(box, found[name], strict=True)) > limit
    }
    assert not moved


@pytest.fixture
def snapshots(browser: Any, tmp_path: Path) -> Iterator[Snapshots]:
    settings = Settings(
        _env_file=None, tickhouse_data_dir=tmp_path / "data", tickhouse_feed="replay"
    )
    snapshots = Snapshots(browser, settings, tmp_path)
    yield snapshots
    if snapshots.context:
        snapshots.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_a_market(snapshots: Snapshots, width: int, theme: str) -> None:
    last = snapshots.market.trade()[-1]
    snapshots.market.build_gold()
    snapshots.market.replay()
    with serving_app(snapshots.market.app()) as url:
        tab = snapshots.open(url, width, theme)
        tab.expect_last_candle(float(last.close), "partial")
        tab.expect_text("ok", "#pipeline ol")
        tab.expect_text("TSLA", "#treemap")
        snapshots.check(f"market-{width}-{theme}", tab)


def test_nothing_has_happened_yet(snapshots: Snapshots) -> None:
    with serving_app(snapshots.market.app()) as url:
        tab = snapshots.open(url, 1440, "light")
        tab.expect_text("No candle has been seen yet", "#notices")
        tab.expect_text("connected", "#link")
        tab.expect_text("No symbol: volume", "#gauge-volume figcaption")
        snapshots.check("empty", tab)


def test_kafka_is_away(snapshots: Snapshots) -> None:
    last = snapshots.market.trade()[-1]
    snapshots.market.lose_kafka()
    with serving_app(snapshots.market.app()) as url:
        tab = snapshots.open(url, 1440, "dark")
        tab.expect_last_candle(float(last.close), "partial")
        tab.expect_text("Kafka problem", "#pipeline ol")
        tab.tab.click("#pipeline summary")
        tab.expect_text("does not answer", "#notices")
        snapshots.check("outage", tab)


def test_a_late_trade_has_revised_a_candle(snapshots: Snapshots) -> None:
    *earlier, last = snapshots.market.trade()
    snapshots.market.build_gold()
    with serving_app(snapshots.market.app()) as url:
        tab = snapshots.open(url, 1440, "light")
        tab.expect_last_candle(float(last.close), "partial")
        tab.tab.click("#table summary")
        late = msgspec.structs.replace(
            earlier[-10], high=earlier[-10].high + 1, revision=1, status="revised"
        )
        snapshots.market.apply(late)
        tab.expect_text("revised (1)", "#table tbody")
        snapshots.check("revised", tab)


@pytest.mark.skipif(WRITES, reason="it would write its faults")
def test_faults_are_found(snapshots: Snapshots) -> None:
    last = snapshots.market.trade()[-1]
    snapshots.market.build_gold()
    snapshots.market.replay()
    with serving_app(snapshots.market.app()) as url:
        tab = snapshots.open(url, 1440, "light")
        tab.expect_last_candle(float(last.close), "partial")
        tab.expect_text("TSLA", "#treemap")
        for selector, style in FAULTS:
            tab.tab.evaluate(SET_STYLE, [selector, style])
            with pytest.raises(AssertionError):
                snapshots.check("market-1440-light", tab)
            tab.tab.evaluate(SET_STYLE, [selector, ""])
        tab.tab.select_option("#theme", "dark")
        with pytest.raises(AssertionError, match="looks different"):
            snapshots.check("market-1440-light", tab)
