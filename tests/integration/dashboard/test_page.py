"""The page in a real browser, on a real Kafka and a real published file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.embedded.kafka import KafkaServer
from app.settings import Settings
from app.topics import TOPICS, ensure_topics
from tests.candle_maker import START, CandleProducer, candle, partial, publish_gold
from tests.integration.dashboard.conftest import Look, serving
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
"""Symbols that mean something else in HTML, JSON or a URL; sorted, as the page lists them."""


def test_the_candle_moves_when_a_partial_comes_and_stays_when_it_is_final(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100))
    look.open(serve(settings)).last_candle_is(100, "final")
    producer.send(partial(minute=1, close=101, last_offset=5))
    look.last_candle_is(101, "partial")
    look.sees("101.00", "#tile-price")
    look.sees("Nov 14, 2023, 17:15:01", "#tile-asof")
    assert look.tab.get_attribute("#tile-asof time", "title") == "2023-11-14 22:15:01 UTC"
    producer.send(partial(minute=1, close=102, last_offset=7))
    look.last_candle_is(102, "partial")
    producer.send(candle(minute=1, close=103, last_offset=6))
    look.last_candle_is(103, "final")
    look.candle_count_is(2)
    assert not look.errors


def test_stale_partials_change_nothing(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100), partial(minute=1, close=102, last_offset=9))
    url = serve(settings)
    look.open(url).last_candle_is(102, "partial")
    producer.send(partial(minute=1, close=55, last_offset=8))
    producer.send(partial(minute=0, close=66, last_offset=99))
    producer.send(partial("MSFT", close=1))  # behind the stale ones in the one partition
    look.sees("MSFT", "#symbol")
    look.last_candle_is(102, "partial")
    answer = look.tab.request.get(f"{url}/api/candles?symbol=AAPL").json()
    assert [one["close"] for one in answer["candles"]] == [100, 102]


def test_a_revision_of_an_earlier_minute_reaches_the_chart(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(minute=0, close=100), candle(minute=1, close=101))
    look.open(serve(settings)).last_candle_is(101, "final")
    look.tab.click("#table summary")
    look.sees("100.00", "#table tbody")
    producer.send(candle(minute=0, close=99, revision=1, status="revised"))
    look.sees("99.00", "#table tbody")
    look.sees("revised (1)", "#table tbody")
    look.last_candle_is(101, "final")
    assert not look.errors


def test_another_symbol_can_be_chosen_and_an_unknown_one_is_named(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(candle("AAPL", close=100), candle("MSFT", close=200))
    url = serve(settings)
    look.open(f"{url}/?symbol=AAPL").last_candle_is(100, "final")
    look.tab.select_option("#symbol", "MSFT")
    look.last_candle_is(200, "final")
    look.tab.click("#treemap g[data-symbol=AAPL]")
    look.last_candle_is(100, "final")
    look.open(f"{url}/?symbol=<b>NOPE").sees("No candle of “<b>NOPE” has been seen", "#notices")
    assert not look.errors


def test_a_symbol_that_is_html_is_shown_as_text(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    evil = "<img src=x onerror=alert(1)>"
    CandleProducer(settings).send(candle(evil, close=100))
    look.open(serve(settings)).last_candle_is(100, "final")
    look.sees(evil, "#symbol")
    look.sees(evil, "#treemap")
    assert look.tab.locator("img").count() == 0
    assert not look.errors


def test_symbols_and_sectors_of_gold_that_are_html_or_urls_are_shown_as_text(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    prices = {symbol: 91.0 + place for place, symbol in enumerate(EVIL)}
    gold = {
        table: [
            rows[0] | {"symbol": symbol, "sector": symbol, "current_price": prices[symbol]}
            for symbol in EVIL
        ]
        for table, rows in gold_of_a_day().items()
    }
    publish_gold(settings, "1.duckdb", **gold)
    url = serve(settings)
    look.open(url).sees("91.00", "#tile-price")
    for symbol in reversed(EVIL):
        look.tab.select_option("#symbol", symbol)
        look.sees(f"{prices[symbol]:.2f}", "#tile-price")
        look.sees(symbol, "#treemap")
        look.sees(f"{symbol}: volume", "#gauge-volume figcaption")
        assert look.tab.evaluate("new URL(location.href).searchParams.get('symbol')") == symbol
        answer = look.tab.request.get(f"{url}/api/candles", params={"symbol": symbol})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["symbol"] == symbol
    assert look.tab.locator("img, body script").count() == 0
    assert not look.errors


def test_the_feed_is_named_in_plain_sight(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings(tickhouse_feed="simulated")
    ensure_topics(settings)
    CandleProducer(settings).send(
        candle(close=100, feed="simulated"), candle(feed="live", minute=1)
    )
    look.open(serve(settings) + "/?symbol=AAPL").last_candle_is(100, "final")
    look.sees("SIMULATED", "#feed")
    look.sees("no price on this page is real", "#notices")
    look.candle_count_is(1)


def test_gold_appears_when_it_is_built(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    ensure_topics(settings)
    CandleProducer(settings).send(candle(close=100))
    look.open(serve(settings)).sees("Gold has not been built yet", "#notices")
    look.sees("live candles", "#tile-volume")
    publish_gold(settings, "1.duckdb", **gold_of_a_day())
    look.sees_not("Gold has not been built yet", "#notices")
    look.sees("warehouse", "#tile-volume")
    look.sees("+60.00", "#tile-price")
    look.sees("vs previous close", "#tile-price")
    look.sees("relative volatility 1.50", "#treemap")
    look.sees("usual by now: 40", "#gauge-volume")
    assert not look.errors


def test_the_page_waits_for_topics_and_goes_on_when_they_are_made_again(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings()
    producer = CandleProducer(settings)
    look.open(serve(settings)).sees("does not exist yet", "#notices")
    ensure_topics(settings)
    producer.send(
        *(candle(minute=m, close=100 + m, last_offset=500 + m) for m in range(3)),
        partial(minute=3, close=110, last_offset=900),
    )
    look.last_candle_is(110, "partial")
    look.sees_not("does not exist yet", "#notices")
    delete_topics(settings, map(settings.named, TOPICS))
    ensure_topics(settings)
    producer.send(partial(minute=3, close=111, last_offset=1), candle(minute=4, close=112))
    look.last_candle_is(112, "final")
    look.tab.click("#table summary")
    look.sees("111.00", "#table tbody")


def test_the_broker_goes_away_and_comes_back(
    make_settings: MakeSettings, private_kafka: KafkaServer, serve: Serve, look: Look
) -> None:
    settings = make_settings(kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(close=100))
    url = serve(settings)
    look.open(url).last_candle_is(100, "final")
    private_kafka.kill()
    look.sees("does not answer", "#notices")
    look.sees("away", "#status-kafka")
    assert look.tab.request.get(f"{url}/healthz").ok
    private_kafka.start()
    producer.send(candle(minute=1, close=101))
    look.last_candle_is(101, "final")
    look.sees_not("does not answer", "#notices")


def test_the_page_finds_its_server_again(make_settings: MakeSettings, look: Look) -> None:
    settings = make_settings()
    ensure_topics(settings)
    producer = CandleProducer(settings)
    producer.send(candle(close=100))
    with serving(settings) as url:
        look.open(url).last_candle_is(100, "final")
    look.sees("reconnecting", "#link")
    producer.send(candle(minute=1, close=101))
    with serving(settings, port=int(url.rsplit(":", 1)[1])):
        look.last_candle_is(101, "final")
        look.sees("connected", "#link")


def test_a_broker_that_never_was_leaves_the_page_up(
    make_settings: MakeSettings, serve: Serve, look: Look
) -> None:
    settings = make_settings(kafka_brokers="127.0.0.1:1", tickhouse_feed="live")
    look.open(serve(settings)).sees("KAFKA_BROKERS", "#notices")
    look.sees("no candle yet", "#tile-price")


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
        "gauge": [own | {"usual_volume": 40.0, "usual_sales": 4_000.0, "usual_days": 3}],
    }
