"""The page steers a real replay, whose candles a real worker computes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from app.settings import Settings
from app.topics import ensure_topics
from tests.candle_maker import MINUTE, START
from tests.integration.dashboard.conftest import PageTab
from tests.integration.dashboard.test_page_kept_open import WCAG
from tests.integration.feeds.topic_reader import stocks, trades_of
from tests.support import HANG_S, await_, running, start

MakeSettings = Callable[..., Settings]
Serve = Callable[[Settings], str]

SYMBOL = "BINANCE:BTCUSDT"
MINUTES = 200
EVERY_S = 2


def trade_file(folder: Path) -> Path:
    path = folder / "day.csv"
    count = MINUTES * 60 // EVERY_S
    rows = (f"{SYMBOL},{START + n * EVERY_S * 1000},{100 + n % 7},1" for n in range(count))
    path.write_text("symbol,t,p,v\n" + "\n".join(rows) + "\n")
    return path


def test_a_replay_is_paused_resumed_and_moved_forward(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab, tmp_path: Path
) -> None:
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    url, tab, log = serve(settings), page_tab.tab, tmp_path / "log"

    def state() -> Any:
        return tab.request.get(f"{url}/api/replay").json()["replay"]

    page_tab.open(url)
    assert tab.is_hidden("#replay")
    with running(settings, "candles", log=log):
        replay = start(settings, "replay", str(trade_file(tmp_path)), "--speed", "30", log=log)
        try:
            tab.wait_for_selector("#replay", state="visible")
            page_tab.expect_text("BTCUSDT", "#symbol")

            tab.click("#replay .pause")
            page_tab.expect_text("Resume", "#replay .pause")
            page_tab.expect_text("paused", "#replay .position")
            paused = state()
            await_(lambda: state()["at"] > paused["at"] + 1_000, what="newer states")
            assert state()["position_ms"] == paused["position_ms"]

            tab.focus("#replay input")
            for _ in range(5):
                tab.keyboard.press("PageUp")
            page_tab.expect_text("Skip to", "#replay .skip-ahead")
            tab.keyboard.press("Enter")
            tab.wait_for_selector("#replay .skip-ahead", state="hidden")
            await_(lambda: state()["position_ms"] > paused["position_ms"], what="the skip")
            await_(lambda: state()["position_ms"] >= START + 90 * MINUTE, what="its end")
            assert state()["paused"]
            tab.wait_for_function("() => document.querySelector('#chart').dataset.candles > 80")

            page_tab.expect_text("23:5", "#legend")  # UTC, as the symbol trades around the clock

            tab.keyboard.press("Home")
            tab.wait_for_selector("#latest", state="visible")
            assert "on the chart" in (tab.get_attribute("#replay input", "aria-valuetext") or "")
            expect_no_violations(page_tab)
            tab.focus("#replay input")
            tab.keyboard.press("Escape")
            tab.wait_for_selector("#latest", state="hidden")

            held = state()["position_ms"]
            tab.select_option("#replay .speed", "60")
            tab.click("#replay .pause")
            await_(lambda: state()["position_ms"] > held, what="the replay to resume")
            assert (state()["speed"], state()["paused"]) == (60, False)

            tab.focus("#replay input")
            tab.keyboard.press("End")
            tab.click("#replay .skip-ahead")
            assert replay.wait(HANG_S) == 0, log.read_text()
        finally:
            replay.kill()
            replay.wait()
        tab.wait_for_selector("#replay", state="hidden")
        assert len(trades_of(stocks(settings), SYMBOL)) == MINUTES * 60 // EVERY_S
    assert not page_tab.errors


def expect_no_violations(page_tab: PageTab) -> None:
    for width, theme in product((1440, 390), ("light", "dark")):
        page_tab.tab.set_viewport_size({"width": width, "height": 900})
        page_tab.tab.select_option("#theme", theme)
        found = Axe().run(page_tab.tab, options={"runOnly": WCAG})
        assert found.violations_count == 0, found.generate_report()
