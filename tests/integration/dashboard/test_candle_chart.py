"""The chart without its server, in Chromium: the candles it holds, and where its view is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.dashboard.routes import STATIC
from tests.candle_maker import MINUTE, START

RIGHT_OF_TIME = 4
"""minutes that are in view right of a time in the past that is shown"""
HTML = """<!doctype html>
<link rel="stylesheet" href="/static/tokens.css">
<script src="/static/vendor/lightweight-charts.standalone.production.js"></script>
<div id="chart" style="width: 800px; height: 400px"></div>
<div id="legend"></div>
<button id="latest"></button>
"""
MAKE_CHART = """async () => {
    const { CandleChart } = await import("/static/chart.js");
    window.chart = new CandleChart(...["chart", "legend", "latest"].map((id) => window[id]));
    chart.setView({ interval: "1m", style: "candles", overlays: [], zone: "UTC" });
}"""


class Chart:
    """A chart in a tab."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab

    def run(self, script: str, argument: Any = None) -> Any:
        return self.tab.evaluate(script, argument)

    def show(self, *minutes: int, has_older: bool = False, keep_view: bool = False) -> None:
        options = {"has_older": has_older, "keepView": keep_view}
        self.run("([given, options]) => chart.show(given, options)", [candles(*minutes), options])

    def minutes(self) -> list[int]:
        """The minutes of its candles."""
        starts = self.run("chart.newest(Infinity).map(({ start }) => start)")
        return [(start - START) // MINUTE for start in starts]

    def in_view(self) -> list[int]:
        """The first and the last minute in view."""
        seen = self.run("chart.plot.chart.timeScale().getVisibleRange()")
        return [(seen[end] * 1000 - START) // MINUTE for end in ("from", "to")]


@pytest.fixture
def chart(browser: Any) -> Iterator[Chart]:
    tab = browser.new_page(locale="ar-EG")  # with digits and a clock of its own
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.route("http://page.test/", lambda route: route.fulfill(body=HTML, content_type="text/html"))
    tab.route("**/static/**", lambda route: route.fulfill(path=STATIC / path_of(route)))
    tab.goto("http://page.test/")
    tab.evaluate(MAKE_CHART)
    yield Chart(tab)
    assert errors == []
    tab.close()


def path_of(route: Any) -> str:
    return str(route.request.url).split("/static/")[1]


def candles(*minutes: int) -> list[dict[str, Any]]:
    prices = dict.fromkeys(("open", "high", "low", "close", "vwap"), 100.0)
    own = {"volume": 1.0, "trade_count": 1, "covered_ms": MINUTE, "session": "continuous"}
    state = {"status": "final", "revision": 0, "price_source": "last", "source": "live"}
    return [
        {"start": start, "end": start + MINUTE, "session_date": "2023-11-14"} | prices | own | state
        for start in (START + minute * MINUTE for minute in minutes)
    ]


def test_a_snapshot_keeps_the_older_candles_that_it_meets(chart: Chart) -> None:
    chart.show(*range(10))
    chart.show(*range(8, 12), has_older=True, keep_view=True)
    assert chart.minutes() == list(range(12))
    chart.show(12, 13, has_older=True, keep_view=True)
    assert chart.minutes() == list(range(14))


def test_a_snapshot_after_a_hole_drops_the_older_candles_and_loads_them_again(
    chart: Chart,
) -> None:
    chart.show(*range(200))
    chart.run("given => { chart.loadOlder = async () => given; }", candles(*range(200, 300)))
    chart.show(*range(300, 500), has_older=True, keep_view=True)
    assert chart.minutes() == list(range(300, 500))
    assert chart.in_view()[1] == 499
    chart.run("chart.navigation.scale.setVisibleLogicalRange({ from: 0, to: 100 })")
    chart.tab.wait_for_function("chart.newest(Infinity).length === 300")
    assert chart.minutes() == list(range(200, 500))


@pytest.mark.parametrize("last", [20, 120, 250])
def test_of_several_times_asked_for_while_older_candles_are_loaded_the_last_is_shown(
    chart: Chart, last: int
) -> None:
    """As while the range of a replay is dragged."""
    chart.show(*range(200, 300), has_older=True)
    chart.run(LOAD_LATER, [candles(*range(100, 200)), candles(*range(100))])
    chart.run(SHOW_TIMES, [START + minute * MINUTE for minute in (50, 150, last)])
    assert chart.in_view()[1] == last + RIGHT_OF_TIME


LOAD_LATER = """pages => {
    chart.loadOlder = () => new Promise((done) => setTimeout(() => done(pages.shift() ?? []), 50));
}"""
SHOW_TIMES = "times => Promise.all(times.map((ms) => chart.showTime(ms)))"


def test_the_oldest_candles_are_dropped_after_days_and_can_be_loaded_again(chart: Chart) -> None:
    chart.show(*range(6000))
    chart.run("given => chart.merge(given)", candles(6000))
    assert chart.minutes() == list(range(1001, 6001))
    chart.run("given => { chart.loadOlder = async () => given; }", candles(*range(900, 1001)))
    chart.run(MOVE_TO_OLDEST)
    chart.tab.wait_for_function("chart.newest(Infinity).length === 5101")


def test_older_candles_are_asked_for_again_after_a_minute(chart: Chart) -> None:
    """The warehouse may have them by now."""
    chart.tab.clock.set_fixed_time(datetime(2026, 1, 5, 12, 0, tzinfo=UTC))
    chart.show(*range(100, 200))
    chart.run("given => { chart.loadOlder = async () => given; }", candles(*range(100)))
    chart.run(MOVE_TO_OLDEST)
    assert len(chart.minutes()) == 100
    chart.tab.clock.set_fixed_time(datetime(2026, 1, 5, 12, 1, tzinfo=UTC))
    chart.run(MOVE_TO_OLDEST)
    chart.tab.wait_for_function("chart.newest(Infinity).length === 200")


MOVE_TO_OLDEST = """async () => {
    for (const from of [50, 0]) {
        chart.navigation.scale.setVisibleLogicalRange({ from, to: from + 40 });
        await new Promise(requestAnimationFrame);
    }
}"""


def test_an_empty_snapshot_leaves_the_chart_as_it_is(chart: Chart) -> None:
    """A server that has just started has read no candle yet."""
    chart.show(*range(10))
    chart.show(keep_view=True)
    assert chart.minutes() == list(range(10))
    chart.show(*range(11), keep_view=True)
    assert chart.minutes() == list(range(11))


def test_clocks_are_written_alike_in_every_language(chart: Chart) -> None:
    clocks = chart.run(
        """async (ms) => {
            const { minute, time } = await import("/static/format.js");
            const zones = ["UTC", "America/New_York"];
            const clock = time(ms, { seconds: true, now: ms, zone: "America/New_York" });
            return [...zones.map((zone) => minute(ms, zone)), clock.textContent];
        }""",
        START + 2 * 60 * MINUTE,
    )
    assert clocks == ["00:14", "19:14", "19:14:00"]


@pytest.mark.parametrize(
    ("held", "received", "newer"),
    [
        (("A", 2), ("A", 1), ("A", 2)),
        (("A", 2), ("A", 2), ("A", 2)),
        (("A", 1), ("A", 2), ("A", 2)),
        (("B", 2), ("A", 1), ("A", 1)),
        (None, ("A", 1), ("A", 1)),
        (("A", 1), None, None),
    ],
)
def test_a_summary_does_not_replace_a_newer_one_of_the_same_symbol(
    chart: Chart, held: Summary, received: Summary, newer: Summary
) -> None:
    """That of all symbols is made each second, and may come after a change of a candle."""
    found = chart.run(
        """async ([held, received]) => {
            const { newerSummary } = await import("/static/store.js");
            const summary = (given) => given ? { symbol: given[0], as_of: given[1] } : undefined;
            const found = newerSummary(summary(held), summary(received));
            return found ? [found.symbol, found.as_of] : null;
        }""",
        [held, received],
    )
    assert found == (list(newer) if newer else None)


Summary = tuple[str, int] | None
