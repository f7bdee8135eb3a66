"""The pipeline observed on a real Kafka and S3 server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal

from confluent_kafka import TopicPartition

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC, Trade, Trades, Watermark
from app.embedded.s3 import S3Server
from app.health.monitor import check
from app.health.observe import Observer
from app.health.stages import TopicTail
from app.lake import ObjectKey, incarnation_name
from app.settings import Settings
from app.topics import ARCHIVE_GROUP, CANDLES_GROUP, ensure_topics
from app.warehouse.progress import BuildProgress, LoadProgress, record_build, record_load
from tests.candle_maker import MINUTE, START, CandleProducer, candle, partial
from tests.support import consumer, send, send_messages

MakeSettings = Callable[..., Settings]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def trades(received_at: int) -> Trades:
    trade = Trade(START, Decimal(100), Decimal(1))
    return Trades("AAPL", "replay", "test", "1", received_at, [trade])


def commit(settings: Settings, group: str, topic: str, offset: int) -> None:
    member = consumer(settings, **{"group.id": settings.named(group)})
    position = TopicPartition(settings.named(topic), 0, offset)
    member.commit(offsets=[position], asynchronous=False)
    member.close()


def put_object(settings: Settings, s3: S3Server, topic: str, last_offset: int) -> None:
    incarnation = incarnation_name(settings.named(topic), START, "abcdefgh")
    key = ObjectKey("trades", incarnation, 0, last_offset, last_offset)
    s3.client().put_object(
        Bucket=settings.lake_bucket, Key=f"{settings.lake_prefix}{key}", Body=b"x"
    )


def test_tails_lags_and_the_newest_object_are_observed(
    make_settings: MakeSettings, s3_server: S3Server
) -> None:
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    began = now_ms() - 1_000
    watermark = Watermark("AAPL", "replay", "test", START + 9_000, START)
    messages = [trades(START + 5_000), trades(START + 7_000), watermark]
    send_messages(settings, STOCKS_TOPIC, messages)
    send(settings, STOCKS_TOPIC, [(b"AAPL", b"not JSON")])
    send(settings, REJECTED_TOPIC, [(b"AAPL", json.dumps({}).encode())])
    CandleProducer(settings).send(candle(minute=0), candle(minute=1), partial(minute=2))
    commit(settings, CANDLES_GROUP, STOCKS_TOPIC, 3)
    put_object(settings, s3_server, STOCKS_TOPIC, 30_000)

    observer = Observer(settings)
    seen = observer.observe(now_ms())

    assert (seen.kafka_error, seen.lake_error) == (None, None)
    stocks = seen.topics[STOCKS_TOPIC]
    assert (stocks.records, stocks.newest_trade_ms) == (4, START + 7_000)
    assert stocks.watermark_ms == START
    assert stocks.newest_ms is not None
    assert began < stocks.newest_ms
    assert seen.topics["candles-1m"].newest_final_end_ms == START + 2 * MINUTE
    assert seen.topics[REJECTED_TOPIC].records == 1
    assert seen.topics["candles-5m"] == TopicTail(0)
    assert seen.lag == {CANDLES_GROUP: 1, ARCHIVE_GROUP: None}
    assert seen.newest_object_ms is not None
    assert began < seen.newest_object_ms

    send_messages(settings, STOCKS_TOPIC, messages)
    commit(settings, CANDLES_GROUP, STOCKS_TOPIC, 5)
    rates = observer.observe(seen.now + 1_000).rates
    assert rates == {"feed": 3, "candles": 2, "candles-live": 0}


def test_progress_of_load_and_build_is_part_of_the_health(make_settings: MakeSettings) -> None:
    settings = make_settings(tickhouse_feed="live", stocks_symbols="BINANCE:BTCUSDT")
    ensure_topics(settings)
    settings.warehouse_path.parent.mkdir(parents=True)
    now = now_ms()
    record_load(settings, LoadProgress(8, now - 1_000, 1))
    record_build(settings, BuildProgress(7, now - 200_000))
    health = check(Observer(settings), now)
    states = {stage.name: stage.state for stage in health.stages}
    assert (states["load"], states["build"]) == ("ok", "problem")
    assert len(health.problems) == 1
    assert health.problems[0].startswith("Gold is 3 min old, and newer loads are not in it")


def test_servers_that_do_not_answer_are_sentences(make_settings: MakeSettings) -> None:
    nowhere = "http://127.0.0.1:1"
    settings = make_settings(kafka_brokers="127.0.0.1:1", lake_endpoint_url=nowhere)
    problems = check(Observer(settings), now_ms()).problems
    assert len(problems) == 2
    assert problems[0].startswith("Kafka at 127.0.0.1:1 (KAFKA_BROKERS) does not answer")
    assert problems[1].startswith(f"The lake at {nowhere} (LAKE_ENDPOINT_URL) does not answer")
