"""The page's JSON: its shape, and an error message for each bad request. No Kafka, no browser."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, Candle, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import CAPACITY, LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.routes import STATIC, create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.dashboard.store import CandleStore
from app.dashboard.stream import SNAPSHOT_BARS
from app.health.monitor import Health
from app.health.stages import Stage
from app.settings import Settings
from tests.candle_maker import MINUTE, START, candle, partial, publish_gold
from tests.unit.dashboard.conftest import NOW, NoThreads


def apply(live: LiveCandles, *candles: Candle) -> None:
    live.apply(CANDLES_TOPIC, [TopicRecord(encode(record), START) for record in candles])


def test_candles_come_oldest_first(client: TestClient, live: LiveCandles) -> None:
    apply(live, *(candle(minute=m, close=100 + m) for m in (2, 0, 1)), partial(minute=3))
    answer = client.get("/api/candles", params={"symbol": "AAPL", "limit": 3}).json()
    assert [record["start"] for record in answer["candles"]] == [
        START + m * MINUTE for m in (1, 2, 3)
    ]
    assert answer["candles"][0] == {
        "start": START + MINUTE,
        "end": START + 2 * MINUTE,
        "open": 101.0,
        "high": 101.0,
        "low": 101.0,
        "close": 101.0,
        "volume": 10.0,
        "vwap": 101.0,
        "trade_count": 1,
        "covered_ms": 60_000,
        "session": "continuous",
        "session_date": "2023-11-14",
        "status": "final",
        "revision": 0,
        "price_source": "last",
        "source": "live",
    }


def test_minutes_that_kafka_no_longer_holds_come_from_gold(
    client: TestClient, page: Page, live: LiveCandles, settings: Settings
) -> None:
    publish_gold(settings, "1.duckdb", candlestick=[gold_candle(m, 50.0 + m) for m in range(3)])
    page.gold.refresh()
    apply(live, candle(minute=2, close=102), candle(minute=3, close=103))
    answer = client.get("/api/candles", params={"symbol": "AAPL", "limit": 3}).json()
    assert [(c["close"], c["source"]) for c in answer["candles"]] == [
        (51, "gold"),
        (102, "live"),
        (103, "live"),
    ]


def test_older_candles_of_any_interval_come_from_gold_on_request(
    client: TestClient, page: Page, settings: Settings
) -> None:
    rows = [gold_candle(5 * m, 50.0 + m) for m in range(4)]
    publish_gold(settings, "1.duckdb", candlestick_5m=rows, kpi=[{"symbol": "AAPL"}])
    page.gold.refresh()
    query = {"symbol": "AAPL", "interval": "5m", "before": START + 15 * MINUTE, "limit": 2}
    answer = client.get("/api/candles", params=query).json()
    assert answer["interval"] == "5m"
    assert [c["close"] for c in answer["candles"]] == [51, 52]


def test_sparklines_have_the_last_closes(client: TestClient, live: LiveCandles) -> None:
    apply(live, *(candle(minute=m, close=100 + m) for m in range(70)))
    assert client.get("/api/sparklines").json() == {
        "closes": {"AAPL": [float(close) for close in range(110, 170)]}
    }


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("", 400, "Name a symbol"),
        ("symbol=NOPE", 404, "No candle of 'NOPE' has been seen"),
        ("symbol=AAPL&limit=0", 400, "from 1 to 1500"),
        ("symbol=AAPL&limit=1501", 400, "from 1 to 1500"),
        ("symbol=AAPL&limit=-5", 400, "from 1 to 1500"),
        ("symbol=AAPL&limit=ten", 400, "The limit 'ten'"),
        ("symbol=AAPL&limit=%C2%B2", 400, "from 1 to 1500"),
        ("symbol=AAPL&interval=2m", 400, "The interval '2m' is not one of 1m, 5m, 15m, 1h, 1d"),
        ("symbol=AAPL&before=noon", 400, "must be a time in UNIX ms"),
        ("symbol=AAPL&before=001700000000000999", 400, "must be a time in UNIX ms"),
    ],
)
def test_a_bad_request_is_answered_with_a_sentence(
    client: TestClient, live: LiveCandles, query: str, status: int, sentence: str
) -> None:
    apply(live, candle())
    answer = client.get(f"/api/candles?{query}")
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


def test_the_stream_of_an_unknown_symbol_is_rejected(client: TestClient) -> None:
    answer = client.get("/events?symbol=NOPE")
    assert answer.status_code == 404
    assert "NOPE" in answer.json()["error"]


def test_streams_that_open_at_the_same_moment_are_counted(
    page: Page, live: LiveCandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.dashboard.routes.MAX_STREAMS", 2)
    apply(live, candle())
    app = create_app(page, [NoThreads()], LOOPBACK_NAMES)
    statuses: list[int] = []

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()  # the client stays

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"symbol=AAPL"}
        headers = {"headers": [(b"host", b"127.0.0.1")]}
        async with app.router.lifespan_context(app):
            opened = [asyncio.create_task(app(scope | headers, receive, send)) for _ in range(5)]
            while len(statuses) < len(opened):
                await asyncio.sleep(0)
            app.state.stop_streams()
            await asyncio.gather(*opened)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert sorted(statuses) == [200, 200, 503, 503, 503]


def test_a_replay_offers_the_symbols_it_has_seen(client: TestClient, live: LiveCandles) -> None:
    apply(live, candle("MSFT"), candle("AAPL"))
    assert client.get("/api/symbols").json() == {"symbols": ["AAPL", "MSFT"]}


def test_gold_is_served_table_by_table(
    client: TestClient, page: Page, settings: Settings, live: LiveCandles
) -> None:
    publish_gold(
        settings,
        "1.duckdb",
        kpi=[{"symbol": "AAPL", "current_price": 7.0, "as_of": moment(0)}],
        candlestick=[
            gold_candle(0, 50.0) | {"exchange_time": datetime.fromisoformat("2024-03-05T09:30")}
        ],
    )
    page.gold.refresh()
    (row,) = client.get("/api/gold/kpi").json()["rows"]
    assert (row["symbol"], row["current_price"], row["as_of"]) == ("AAPL", 7, START)
    (row,) = client.get("/api/gold/candlestick?symbol=AAPL").json()["rows"]
    assert (row["candle_time"], row["candle_close"]) == (START, 50)
    assert row["exchange_time"] == "2024-03-05T09:30:00"  # not UTC: never a UNIX time
    assert client.get("/api/gold/gauge").json()["rows"] == []


def test_gold_that_is_not_built_is_a_503_with_a_sentence(client: TestClient) -> None:
    answer = client.get("/api/gold/kpi")
    assert answer.status_code == 503
    assert "has not been built yet" in answer.json()["error"]


def test_an_unknown_table_of_gold_is_a_404(client: TestClient) -> None:
    answer = client.get("/api/gold/secrets")
    assert answer.status_code == 404
    assert "kpi, treechart, gauge, candlestick" in answer.json()["error"]


def test_a_row_that_gold_has_set_aside_is_a_problem(
    client: TestClient, page: Page, settings: Settings
) -> None:
    row = {
        "dataset": "candles",
        "symbol": "AAPL",
        "candle_interval": "1m",
        "event_time": moment(0),
        "reason": "low_is_lowest",
        "content": "open 10, high 9",
    }
    publish_gold(settings, "1.duckdb", quarantine=[row, row | {"symbol": "MSFT"}])
    page.gold.refresh()

    (problem,) = client.get("/api/status").json()["problems"]

    assert "the rule low_is_lowest: candles AAPL 1m 2023-11-14" in problem
    assert "(open 10, high 9). 1 more" in problem


def test_status_reports_how_fresh_the_data_is(client: TestClient, live: LiveCandles) -> None:
    apply(live, candle(minute=4))
    live.apply(LIVE_TOPIC, [TopicRecord(b"{}", START), TopicRecord(None, START)])
    status = client.get("/api/status").json()
    assert status["feed"] == "replay"
    assert status["now"] == NOW
    assert status["last_final_end"] == START + 5 * MINUTE
    assert status["topics"][CANDLES_TOPIC]["newest_ms"] == START
    assert status["topics"][LIVE_TOPIC]["unusable"] == 2
    assert status["gold"]["state"] == "absent"


@pytest.mark.parametrize(
    ("newest_ms", "read_ms", "is_behind"),
    [
        (NOW - 20_000, NOW - 140_000, True),
        (NOW - 20_000, NOW - 79_000, False),
        (NOW - 140_000, NOW - 140_000, False),
        (None, NOW - 140_000, False),
    ],
)
def test_a_reader_that_is_behind_after_a_sleep_is_reported(
    settings: Settings, newest_ms: int | None, read_ms: int, is_behind: bool
) -> None:
    health = Health(NOW, "", "replay", [Stage("candles", "ok", newest_ms, "processing")], [])
    stores = {interval: CandleStore() for interval in CAPACITY}
    stores["1m"].last_final_end = read_ms
    live = LiveCandles("replay", stores=stores)
    page = Page(settings, live, GoldReader(settings), lambda: NOW, lambda: health)
    behind = [text for text in page.status()["problems"] if "This page is behind" in text]
    assert bool(behind) == is_behind


def test_the_summary_has_each_symbol_and_gauges(client: TestClient, live: LiveCandles) -> None:
    apply(live, candle("AAPL", close=10), candle("MSFT", close=20), candle("OANDA:EUR_USD"))
    summary = client.get("/api/summary").json()
    classes = {entry["symbol"]: entry["symbol_class"] for entry in summary["symbols"]}
    assert classes == {"AAPL": "us_stock", "MSFT": "us_stock", "OANDA:EUR_USD": "forex"}
    assert set(summary["gauges"]) == set(classes)
    assert set(summary["class_gauges"]) == {"us_stock", "forex"}
    apply(live, candle("AAPL", minute=1, close=11))
    assert client.get("/api/summary").json()["symbols"][0]["price"] == 11


def test_another_host_is_rejected(client: TestClient) -> None:
    """A DNS name of another site that points at this machine must not give access to the page."""
    assert client.get("/api/status", headers={"host": "evil.example"}).status_code == 400


def test_every_answer_forbids_foreign_scripts(client: TestClient) -> None:
    for path in ("/", "/api/status", "/nothing", "/static/main.js"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'self'")


def test_the_page_loads_nothing_from_outside_and_is_small() -> None:
    """At most 350 KB compressed, vendored libraries included."""
    files = [file for file in STATIC.rglob("*") if file.is_file()]
    assert sum(len(gzip.compress(file.read_bytes(), 6)) for file in files) < 350_000
    html = (STATIC / "index.html").read_text()
    assert 'src="http' not in html
    assert "<script>" not in html


def test_the_page_begins_with_fetching_the_modules_of_its_first_frame_and_no_others() -> None:
    html = (STATIC / "index.html").read_text()
    preloaded = re.findall(r'<link rel="modulepreload" href="/static/([^"]+)"', html)
    assert sorted(preloaded) == sorted(imported_by("main.js"))


def imported_by(module: str) -> set[str]:
    """The module and what it imports, and what they import; not what they load later."""
    found: set[str] = set()
    left = {module}
    while left:
        found.add(name := left.pop())
        imports = re.findall(r'^import .* from "\./(\w+\.js)"', (STATIC / name).read_text(), re.M)
        left |= set(imports) - found
    return found


def first_view(client: TestClient, **query: str) -> Any:
    html = client.get("/", params=query).text
    found = re.search(r'<script type="application/json" id="first-view">(.*?)</script>', html)
    assert found
    return json.loads(found[1])


def test_the_page_comes_with_the_candles_that_it_shows_first(
    client: TestClient, live: LiveCandles
) -> None:
    apply(live, candle("AAPL", close=10), candle("MSFT", close=20))
    view = first_view(client, symbol="MSFT", interval="1m")
    asked = client.get("/api/candles", params={"symbol": "MSFT"}).json()
    assert {name: view[name] for name in asked} == asked
    assert view["summary"]["price"] == 20
    assert view["symbols"] == ["AAPL", "MSFT"]
    assert view["has_older"] is False
    document = client.get("/api/openapi.json").json()
    schema = document["components"]["schemas"]["FirstView"]
    jsonschema.validate(view, schema | {"components": document["components"]})


def test_the_first_view_has_whether_there_are_older_candles(
    client: TestClient, live: LiveCandles
) -> None:
    apply(live, *(candle(minute=minute) for minute in range(SNAPSHOT_BARS + 1)))
    view = first_view(client)
    assert (len(view["candles"]), view["has_older"]) == (SNAPSHOT_BARS, True)


def test_the_first_view_of_what_is_not_known_is_the_first_symbol_by_the_minute(
    client: TestClient, live: LiveCandles
) -> None:
    assert first_view(client, symbol="MSFT")["symbol"] is None
    apply(live, candle("AAPL", close=10))
    view = first_view(client, symbol="MSFT", interval="2m")
    assert (view["symbol"], view["interval"]) == ("AAPL", "1m")


def test_a_symbol_does_not_end_the_element_that_holds_the_first_view(
    client: TestClient, live: LiveCandles
) -> None:
    evil = "</script><script>alert(1)</script>"
    apply(live, candle(evil))
    assert first_view(client)["symbol"] == evil
    assert "<script>alert" not in client.get("/").text


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"


def moment(minute: int) -> datetime:
    return datetime.fromtimestamp((START + minute * MINUTE) / 1000, UTC).replace(tzinfo=None)


def gold_candle(minute: int, price: float) -> dict[str, Any]:
    names = ("candle_open", "candle_high", "candle_low", "candle_close")
    times = {"candle_time": moment(minute), "candle_end": moment(minute + 1)}
    return {"symbol": "AAPL"} | times | dict.fromkeys(names, price)
