"""The page in a real browser, with a real Kafka and a real published file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC, Rejection, encode
from app.embedded.kafka import KafkaServer
from app.rejection_records import MessageOrigin, rejection_records
from app.settings import Settings
from app.topics import TOPICS, ensure_topics
from app.warehouse.progress import (
    AuditProgress,
    BuildProgress,
    LoadProgress,
    record_audit,
    record_build,
    record_load,
)
from tests.candle_maker import MINUTE, START, CandleProducer, candle, partial, publish_gold
from tests.integration.dashboard.conftest import PageTab, serving
from tests.support import delete_topics

MakeSettings = Callable[..., Settings]
Serve = Callable[[Settings], str]
EVIL = (
    " C  D ",
    "\"'><script>alert(1)</script>",
    "%41%",
    "&lt;b&gt;",
    "<img src=x onerror=alert(1)>",
    "A\nB",
    "A/../B?limit=x&symbol=C#d",
)
"""Symbols with special characters of HTML, JSON or URLs; sorted, as the page lists them."""


def test_the_candle_moves_when_a_partial_comes_and_stays_when_it_is_final(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    page_tab.open(serve(settings)).expect_last_candle(100, "final")
    producer.send(partial(minute=1, close=101, last_offset=5))
    page_tab.expect_last_candle(101, "partial")
    page_tab.expect_text("101.00", "#tile-price")
    page_tab.expect_text("22:15:01", "#tile-asof .value")
    page_tab.expect_text("Nov 14, 2023 · recorded", "#tile-asof .note")
    page_tab.tab.select_option("#zone", "browser")
    page_tab.expect_text("17:15:01", "#tile-asof .value")
    assert page_tab.tab.get_attribute("#tile-asof time", "title") == "2023-11-14 22:15:01 UTC"
    producer.send(partial(minute=1, close=102, last_offset=7))
    page_tab.expect_last_candle(102, "partial")
    producer.send(candle(minute=1, close=103, last_offset=6))
    page_tab.expect_last_candle(103, "final")
    page_tab.expect_candle_count(2)
    assert not page_tab.errors


def test_stale_partials_change_nothing(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100), partial(minute=1, close=102, last_offset=9))
    url = serve(settings)
    page_tab.open(url).expect_last_candle(102, "partial")
    producer.send(partial(minute=1, close=55, last_offset=8))
    producer.send(partial(minute=0, close=66, last_offset=99))
    producer.send(partial("MSFT", close=1))  # behind the stale ones in the one partition
    page_tab.expect_text("MSFT", "#symbol")
    page_tab.expect_last_candle(102, "partial")
    answer = page_tab.tab.request.get(f"{url}/api/candles?symbol=AAPL").json()
    assert [record["close"] for record in answer["candles"]] == [100, 102]


def test_a_revision_of_an_earlier_minute_reaches_the_chart(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100), candle(minute=1, close=101))
    page_tab.open(serve(settings)).expect_last_candle(101, "final")
    page_tab.tab.click("#table summary")
    page_tab.expect_text("100.00", "#table tbody")
    producer.send(candle(minute=0, close=99, revision=1, status="revised"))
    page_tab.expect_text("99.00", "#table tbody")
    page_tab.expect_text("revised (1)", "#table tbody")
    page_tab.expect_last_candle(101, "final")
    assert not page_tab.errors


def test_another_symbol_can_be_chosen_and_an_unknown_symbol_is_named(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(candle("AAPL", close=100), candle("MSFT", close=200))
    url = serve(settings)
    page_tab.open(f"{url}/?symbol=AAPL").expect_last_candle(100, "final")
    page_tab.tab.select_option("#symbol", "MSFT")
    page_tab.expect_last_candle(200, "final")
    page_tab.tab.click("#treemap g[data-symbol=AAPL]")
    page_tab.expect_last_candle(100, "final")
    page_tab.open(f"{url}/?symbol=<b>NOPE").expect_text(
        "No candle of “<b>NOPE” has been seen", "#notices"
    )
    assert not page_tab.errors


def test_a_symbol_that_is_html_is_shown_as_text(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    evil = "<img src=x onerror=alert(1)>"
    CandleProducer(settings).send(candle(evil, close=100))
    page_tab.open(serve(settings)).expect_last_candle(100, "final")
    page_tab.expect_text(evil, "#symbol")
    page_tab.expect_text(evil, "#treemap")
    assert page_tab.tab.locator("img").count() == 0
    assert not page_tab.errors


def test_symbols_and_sectors_of_gold_that_are_html_or_urls_are_shown_as_text(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    prices = {symbol: 91.0 + index for index, symbol in enumerate(EVIL)}
    gold = {
        table: [
            rows[0] | {"symbol": symbol, "sector": symbol, "current_price": prices[symbol]}
            for symbol in EVIL
        ]
        for table, rows in gold_of_a_day().items()
    }
    publish_gold(settings, "1.duckdb", **gold)
    url = serve(settings)
    page_tab.open(url).expect_text("91.00", "#tile-price")
    for symbol in reversed(EVIL):
        page_tab.tab.select_option("#symbol", symbol)
        page_tab.expect_text(f"{prices[symbol]:.2f}", "#tile-price")
        page_tab.expect_text(symbol, "#treemap")
        page_tab.expect_text(f"{symbol}: volume", "#gauge-volume figcaption")
        assert page_tab.tab.evaluate("new URL(location.href).searchParams.get('symbol')") == symbol
        answer = page_tab.tab.request.get(f"{url}/api/candles", params={"symbol": symbol})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["symbol"] == symbol
    assert page_tab.tab.locator("img, body script:not(#first-view)").count() == 0
    assert not page_tab.errors


def test_the_feed_is_named_in_plain_sight(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings(tickhouse_feed="simulated")
    ensure_topics(settings)
    CandleProducer(settings).send(
        candle(close=100, feed="simulated"), candle(feed="live", minute=1)
    )
    page_tab.open(serve(settings) + "/?symbol=AAPL").expect_last_candle(100, "final")
    page_tab.expect_text("SIMULATED", "#feed")
    assert "no price on this page is real" in (page_tab.tab.get_attribute("#feed", "title") or "")
    page_tab.expect_candle_count(1)


def test_gold_appears_when_it_is_built(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(candle(close=100))
    page_tab.open(serve(settings)).expect_text("Gold has not been built yet", "#notices")
    page_tab.expect_text("live candles", "#tile-range")
    publish_gold(settings, "1.duckdb", **gold_of_a_day())
    page_tab.expect_no_text("Gold has not been built yet", "#notices")
    page_tab.expect_text("warehouse", "#tile-range")
    page_tab.expect_text("+60.00", "#tile-price")
    page_tab.expect_text("vs previous close", "#tile-price")
    page_tab.expect_text("relative volatility 1.50", "#treemap")
    page_tab.expect_text("typical by now: 40 (12.50×)", "#gauge-volume")
    assert not page_tab.errors


def test_the_gauges_of_all_symbols_are_those_of_the_class_of_the_chosen_one(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(
        candle("AAPL", volume=Decimal(300)),
        candle("MSFT", volume=Decimal(200)),
        candle("BINANCE:BTCUSDT", volume=Decimal(7)),
    )
    page_tab.open(serve(settings) + "/?symbol=AAPL")
    page_tab.expect_text("All stocks: volume", "#gauge-volume-class figcaption")
    page_tab.expect_text("500", "#gauge-volume-class text")
    page_tab.tab.select_option("#symbol", "BINANCE:BTCUSDT")
    page_tab.expect_text(
        "All crypto: volume · not added up: units differ", "#gauge-volume-class figcaption"
    )
    page_tab.expect_text("All crypto: sales · no history yet", "#gauge-sales-class figcaption")
    page_tab.expect_text("–", "#gauge-volume-class text")
    assert not page_tab.errors


def test_the_page_waits_for_topics_and_continues_when_they_are_recreated(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    producer = CandleProducer(settings)
    page_tab.open(serve(settings)).expect_text("does not exist yet", "#notices")
    ensure_topics(settings)
    producer.send(
        *(candle(minute=m, close=100 + m, last_offset=500 + m) for m in range(3)),
        partial(minute=3, close=110, last_offset=900),
    )
    page_tab.expect_last_candle(110, "partial")
    page_tab.expect_no_text("does not exist yet", "#notices")
    delete_topics(settings, map(settings.named, TOPICS))
    ensure_topics(settings)
    producer.send(partial(minute=3, close=111, last_offset=1), candle(minute=4, close=112))
    page_tab.expect_last_candle(112, "final")
    page_tab.tab.click("#table summary")
    page_tab.expect_text("111.00", "#table tbody")


@pytest.mark.drill
def test_the_broker_goes_away_and_comes_back(
    make_settings: MakeSettings, private_kafka: KafkaServer, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(close=100))
    url = serve(settings)
    page_tab.open(url).expect_last_candle(100, "final")
    private_kafka.kill()
    page_tab.expect_text("does not answer", "#notices")
    page_tab.expect_text("away", "#status-kafka")
    assert page_tab.tab.request.get(f"{url}/healthz").ok
    private_kafka.start()
    producer.send(candle(minute=1, close=101))
    page_tab.expect_last_candle(101, "final")
    page_tab.expect_no_text("does not answer", "#notices")


def test_the_page_finds_its_server_again(make_settings: MakeSettings, page_tab: PageTab) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(close=100))
    with serving(settings) as url:
        page_tab.open(url).expect_last_candle(100, "final")
    page_tab.expect_text("reconnecting", "#link")
    producer.send(candle(minute=1, close=101))
    with serving(settings, port=int(url.rsplit(":", 1)[1])):
        page_tab.expect_last_candle(101, "final")
        page_tab.expect_text("connected", "#link")


def test_a_broker_that_never_was_leaves_the_page_up(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings(kafka_brokers="127.0.0.1:1", tickhouse_feed="live")
    page_tab.open(serve(settings)).expect_text("KAFKA_BROKERS", "#notices")
    page_tab.expect_text("no candle yet", "#tile-price")
    assert page_tab.tab.is_hidden("#watchlist .empty")


def gold_of_a_day() -> dict[str, list[dict[str, Any]]]:
    moment = datetime.fromtimestamp(START / 1000, UTC).replace(tzinfo=None)
    own = {"symbol": "AAPL", "session_date": "2023-11-14"}
    kpi = own | {
        "current_price": 90.0,
        "reference_price": 40.0,
        "change_basis": "previous_close",
        "day_low": 30.0,
        "day_high": 120.0,
        "volume": 500.0,
        "traded_value": 45_000.0,
        "vwap": 90.0,
        "as_of": moment,
    }
    return {
        "kpi": [kpi],
        "treechart": [own | {"relative_volatility": 1.5, "sector": "Technology"}],
        "gauge": [own | {"typical_volume": 40.0, "typical_sales": 4_000.0, "typical_days": 3}],
    }


def test_the_strip_shows_each_stage_and_what_to_do_about_a_problem(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    settings.warehouse_path.parent.mkdir(parents=True)
    record_load(settings, LoadProgress(8, START))
    record_build(settings, BuildProgress(7, START))
    CandleProducer(settings).send(candle(minute=0, close=100))
    page_tab.open(serve(settings)).expect_text("Kafka ok", "#pipeline ol")
    page_tab.expect_text("Build problem", "#pipeline ol")
    page_tab.tab.click("#pipeline summary")
    page_tab.expect_text("check stock_transform in Airflow", "#pipeline tbody")
    commands = page_tab.tab.locator("#pipeline td code").all_text_contents()
    assert "tickhouse produce" in commands
    assert "`" not in page_tab.tab.inner_text("body")
    record_build(settings, BuildProgress(8, START))
    page_tab.expect_text("Build ok", "#pipeline ol")
    page_tab.expect_text("Audit waiting", "#pipeline ol")
    record_audit(settings, AuditProgress(START, 20, "1 of 20 candles differ."))
    page_tab.expect_text("Audit problem", "#pipeline ol")
    page_tab.expect_text("The last audit failed: 1 of 20 candles differ.", "#pipeline tbody")
    assert not page_tab.errors


def test_minutes_without_a_candle_are_not_closed_up(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    """Ten minutes of standstill leave ten empty slots; they are hatched, as coverage is missing."""
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(
        *(candle(minute=m, close=100) for m in (0, 1)),
        candle(minute=2, close=100, covered_ms=21_000),
        candle(minute=13, close=101),
        *(candle("MSFT", minute=m, close=200) for m in (0, 5)),
    )
    page_tab.open(serve(settings) + "/?symbol=AAPL").expect_last_candle(101, "final")
    assert page_tab.tab.get_attribute("#chart", "data-gaps") == "10"
    assert page_tab.tab.get_attribute("#chart", "data-hatched") == "11"
    page_tab.tab.click("#watchlist tr[data-symbol=MSFT]")
    page_tab.expect_last_candle(200, "final")
    assert page_tab.tab.get_attribute("#chart", "data-gaps") == "4"  # nobody traded
    assert page_tab.tab.get_attribute("#chart", "data-hatched") == "0"
    assert not page_tab.errors


def test_longer_intervals_have_the_open_minute_too_and_the_address_holds_the_view(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    five = START + MINUTE  # 22:15 UTC
    window = {"interval": "5m", "window_start": five, "window_end": five + 5 * MINUTE}
    producer.send(
        candle(minute=1, close=100),
        candle(close=100, status="partial", revision=None, **window),
        partial(minute=2, close=104, last_offset=7),
    )
    url = serve(settings)
    page_tab.open(url).expect_last_candle(104, "partial")
    page_tab.expect_candle_count(2)
    page_tab.tab.click("#interval button[value='5m']")
    page_tab.expect_candle_count(1)
    page_tab.expect_last_candle(104, "partial")
    page_tab.tab.click("#overlays button[value=vwap]")
    page_tab.tab.click("#style button[value=line]")
    page_tab.tab.select_option("#zone", "utc")
    page_tab.tab.select_option("#size", "volume")
    view = page_tab.tab.url
    for part in ("interval=5m", "overlays=ma20%2Cvwap", "style=line", "zone=utc", "size=volume"):
        assert part in view
    page_tab.open(view).expect_candle_count(1)
    assert page_tab.tab.get_attribute("#interval button[value='5m']", "aria-pressed") == "true"
    page_tab.expect_text("22:15", "#legend")
    assert not page_tab.errors


def test_the_watch_list_is_searched_sorted_and_moved_through_by_keys(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    symbols = ("AAPL", "AMZN", "MSFT")
    for minute, closes in enumerate(((100, 100, 100), (101, 105, 99))):
        made = zip(symbols, closes, strict=True)
        CandleProducer(settings).send(*(candle(s, minute=minute, close=c) for s, c in made))
    page_tab.open(serve(settings)).expect_last_candle(101, "final")
    page_tab.expect_text("MSFT", "#watchlist tbody")
    rows = page_tab.tab.locator("#watchlist tbody th")
    assert rows.all_text_contents() == ["AAPL", "AMZN", "MSFT"]
    page_tab.tab.click("#watchlist [data-sort=change]")
    assert rows.all_text_contents() == ["AMZN", "AAPL", "MSFT"]
    page_tab.tab.press("body", "/")
    page_tab.tab.keyboard.type("ms")
    assert rows.all_text_contents() == ["MSFT"]
    page_tab.tab.keyboard.press("Enter")
    page_tab.expect_last_candle(99, "final")
    page_tab.tab.keyboard.press("Escape")
    page_tab.tab.focus("#watchlist tr[data-symbol=MSFT]")
    page_tab.tab.keyboard.press("ArrowUp")
    page_tab.expect_last_candle(101, "final")
    assert not page_tab.errors


def test_rejected_messages_are_listed_with_reason_and_bytes(
    make_settings: MakeSettings, serve: Serve, page_tab: PageTab
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    origin = MessageOrigin(None, STOCKS_TOPIC, 2, 17)
    rejection = Rejection("schema", "p is not a number")
    bad = b'{"p": "<b>x</b>", \xff}'
    (record,) = rejection_records(bad, [rejection], "replay", origin)
    producer = CandleProducer(settings)
    producer.send_raw(REJECTED_TOPIC, "AAPL", encode(record))
    producer.send(candle(close=100))
    page_tab.open(serve(settings)).expect_last_candle(100, "final")
    page_tab.tab.click("#rejections-title")
    for text in ("schema", "p is not a number", "stocks-topic 2:17", '{"p": "<b>x</b>", \\xff}'):
        page_tab.expect_text(text, "#rejections tbody")
    assert not page_tab.errors
