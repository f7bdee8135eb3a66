"""A page that stays open: lost network, a sleeping tab, a new server; and accessibility rules."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from axe_playwright_python.sync_playwright import Axe

from app.settings import Settings
from app.topics import ensure_topics
from tests.candle_maker import CandleProducer, candle, partial, publish_gold
from tests.integration.dashboard.conftest import PageTab, serving
from tests.integration.dashboard.test_page import gold_of_a_day

MakeSettings = Callable[..., Settings]
Serve = Callable[[Settings], str]

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

WATCH_STREAM = """() => {
    const Source = window.EventSource;
    window.opened = [];
    window.EventSource = class extends Source {
        constructor(...given) {
            super(...given);
            for (const name of ["snapshot", "candles"]) {
                this.addEventListener(name, (event) => {
                    window.opened.push([name, JSON.parse(event.data).candles.map((c) => c.start)]);
                });
            }
        }
    };
}"""
"""Lists the name and the candles of each event that the page receives."""


def table_rows(page_tab: PageTab) -> list[list[str]]:
    rows = page_tab.tab.locator("#table tbody tr").all()
    return [row.locator("td").all_text_contents() for row in rows]


def open_with_candles(page_tab: PageTab, url: str) -> None:
    page_tab.tab.add_init_script(f"({WATCH_STREAM})()")
    page_tab.open(url).expect_last_candle(100, "final")
    page_tab.tab.click("#table summary")


def snapshot_count(page_tab: PageTab) -> int:
    """How many snapshots the stream has sent; the first candles come with the page."""
    names = [name for name, _ in page_tab.tab.evaluate("window.opened")]
    return names.count("snapshot")


def test_after_a_lost_network_the_page_gets_the_missed_candles_once(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    """Offline ends the stream; it resumes after the last event, without a second snapshot."""
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    open_with_candles(page_tab, serve(settings))
    snapshots = snapshot_count(page_tab)
    network = page_tab.tab.context.new_cdp_session(page_tab.tab)
    network.send("Network.enable")

    def is_offline(offline: bool) -> None:
        network.send(
            "Network.emulateNetworkConditions",
            {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )

    is_offline(True)
    page_tab.expect_text("offline", "#link")
    producer.send(candle(minute=1, close=101), partial(minute=2, close=102, last_offset=9))
    is_offline(False)
    page_tab.expect_last_candle(102, "partial")
    page_tab.expect_text("connected", "#link")
    page_tab.expect_candle_count(3)
    closes = [row[4] for row in table_rows(page_tab)]
    assert closes == ["102.00", "101.00", "100.00"]
    assert snapshot_count(page_tab) == snapshots


def test_a_tab_that_slept_catches_up_when_it_is_shown_again(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    """A frozen page runs no code; Chromium freezes it as it does a tab in the background."""
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    open_with_candles(page_tab, serve(settings))
    lifecycle = page_tab.tab.context.new_cdp_session(page_tab.tab)
    lifecycle.send("Page.enable")
    lifecycle.send("Page.setWebLifecycleState", {"state": "frozen"})
    producer.send(*(candle(minute=m, close=100 + m) for m in range(1, 6)))
    producer.send(partial(minute=6, close=106, last_offset=9))
    lifecycle.send("Page.setWebLifecycleState", {"state": "active"})
    page_tab.expect_last_candle(106, "partial")
    page_tab.expect_candle_count(7)
    assert [row[4] for row in table_rows(page_tab)] == [f"{106 - m}.00" for m in range(7)]
    assert not page_tab.errors


def test_a_new_server_sends_a_snapshot_and_the_page_keeps_its_view(
    make_settings: MakeSettings, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    with serving(settings) as url:
        open_with_candles(page_tab, url)
        page_tab.tab.click("#overlays button[value=vwap]")
        snapshots = snapshot_count(page_tab)
    page_tab.expect_text("reconnecting", "#link")
    producer.send(candle(minute=1, close=101))
    with serving(settings, port=int(url.rsplit(":", 1)[1])):
        page_tab.expect_last_candle(101, "final")
        page_tab.expect_candle_count(2)
    assert snapshot_count(page_tab) > snapshots
    assert "overlays=ma20%2Cvwap" in page_tab.tab.url


def test_the_legend_lists_what_a_revision_changed(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    page_tab.open(serve(settings)).expect_last_candle(100, "final")
    producer.send(candle(minute=0, close=99, revision=1, status="revised", trade_count=2))
    page_tab.expect_text("revised (1) · before: ", "#legend")
    page_tab.expect_text("close 100.00", "#legend")
    page_tab.expect_text("1 trades", "#legend")
    assert not page_tab.errors


def test_the_chart_is_moved_by_keys_and_returns_to_the_newest_candle(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(*(candle(minute=m, close=100 + m) for m in range(300)))
    page_tab.open(serve(settings)).expect_candle_count(300)
    latest = page_tab.tab.locator("#latest")
    assert latest.is_hidden()
    page_tab.tab.focus("#chart")
    page_tab.tab.keyboard.press("ArrowLeft")
    latest.wait_for(state="visible")
    latest.click()
    latest.wait_for(state="hidden")
    page_tab.tab.focus("#chart")
    page_tab.tab.keyboard.press("ArrowLeft")
    latest.wait_for(state="visible")
    page_tab.tab.keyboard.press("End")
    latest.wait_for(state="hidden")
    assert not page_tab.errors


def test_axe_finds_nothing_in_either_theme_and_palette_at_either_width(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings(tickhouse_feed="simulated")
    ensure_topics(settings)
    closes = [(symbol, minute) for symbol in ("AAPL", "MSFT") for minute in (0, 1, 5)]
    CandleProducer(settings).send(
        *(candle(s, minute=m, close=100 + m, feed="simulated") for s, m in closes)
    )
    publish_gold(settings, "1.duckdb", **gold_of_a_day())
    page_tab.open(serve(settings)).expect_last_candle(105, "final")
    page_tab.expect_text("MSFT", "#watchlist tbody")
    page_tab.expect_text("ok", "#pipeline ol")
    for opened in ("#pipeline summary", "#table summary", "#rejections-title"):
        page_tab.tab.click(opened)
    for width, theme, palette in product(
        (1440, 390), ("light", "dark"), ("green-red", "blue-orange")
    ):
        page_tab.tab.set_viewport_size({"width": width, "height": 900})
        page_tab.tab.select_option("#theme", theme)
        page_tab.tab.select_option("#palette", palette)
        found = Axe().run(page_tab.tab, options={"runOnly": WCAG})
        assert found.violations_count == 0, found.generate_report()
