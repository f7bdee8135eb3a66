"""Real trades through every joint: replay → Kafka → candles → S3 → loader → dbt → gold."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from confluent_kafka.admin import AdminClient

from app.contracts import CANDLES_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from app.topics import ensure_topics, topic_ids
from app.warehouse import commands, published
from tests.published import (
    bar,
    gold_bars,
    matches,
    pre_market_bars,
    regular_bars,
    volume_matches,
)
from tests.support import await_, await_consumed, delete_topics, read_topic, running, start

GOLD_TRADES, EQUITY_TRADES = 40_192, 654_140
AS_PUBLISHED = {
    "candle_price_rule": "all",
    "archive_flush_interval_s": 2,
    "kafka_partitions": 2,
}
"""Settings under which candles are the bars of vendors."""


def replay(settings: Settings, file: Path, log: Path) -> None:
    replaying = start(settings, "replay", str(file), log=log)
    assert replaying.wait(240) == 0, log.read_text()


def load_all(settings: Settings) -> None:
    """Wait until the lake holds every candle of the topic, and bring gold up to it."""
    await_consumed(settings, STOCKS_TOPIC, "candles", 240)
    await_consumed(settings, STOCKS_TOPIC, "archive", 240)
    incarnation = topic_ids(settings, [settings.named(CANDLES_TOPIC)])[
        settings.named(CANDLES_TOPIC)
    ]
    expected = len(read_topic(settings, CANDLES_TOPIC))

    def loaded() -> bool:
        commands.load(settings)
        (count,) = warehouse(
            settings, f"select count(*) from RAW.CANDLES where _topic_id = '{incarnation}'"
        )[0]
        return count >= expected

    await_(loaded, 60, "all candles to be loaded")
    assert commands.build(settings).built


def warehouse(settings: Settings, sql: str) -> list[tuple]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def gold_candles(settings: Settings):
    """gold_candlestick as the page reads it, in the form of published bars."""
    path = published.current_path(settings)
    assert path is not None
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "select symbol, epoch_ms(candle_time), candle_open, candle_high, candle_low,"
            " candle_close, volume from gold.gold_candlestick"
        ).fetchall()
    assert len({row[:2] for row in rows}) == len(rows), "a candle is there twice"
    return {(symbol, t): bar(*fields) for symbol, t, *fields in rows}


def trades_kept(settings: Settings) -> int:
    """Trades of the warehouse, of all incarnations, each identity once."""
    return warehouse(settings, "select count(*) from SILVER.SILVER_TRADES where not is_duplicate")[
        0
    ][0]


def test_recorded_trades_come_out_of_gold_as_the_published_bars_over_two_incarnations_of_the_topics(
    make_settings, tmp_path, gold_data, utc
):
    settings = make_settings(**AS_PUBLISHED)
    ensure_topics(settings)
    log = tmp_path / "log"
    futures = gold_data / "gold_futures_trades.parquet"
    with running(settings, "candles", log=log), running(settings, "archive", log=log):
        replay(settings, futures, log)
        load_all(settings)
    assert matches(gold_bars(gold_data), gold_candles(settings)) == 1490
    assert trades_kept(settings) == GOLD_TRADES

    delete_all_topics(settings)
    ensure_topics(settings)
    half = tmp_path / "half.parquet"
    pq.write_table(pq.read_table(futures).slice(0, GOLD_TRADES // 2), half)
    with running(settings, "candles", log=log), running(settings, "archive", log=log):
        replay(settings, half, log)
        load_all(settings)
    assert matches(gold_bars(gold_data), gold_candles(settings)) == 1490
    assert trades_kept(settings) == GOLD_TRADES


def test_recorded_prints_of_the_tape_come_out_of_gold_as_the_published_bars(
    make_settings, tmp_path, test_data, utc
):
    settings = make_settings(**AS_PUBLISHED)
    ensure_topics(settings)
    log = tmp_path / "log"
    with running(settings, "candles", log=log), running(settings, "archive", log=log):
        replay(settings, test_data / "us_equities_trades.parquet", log)
        load_all(settings)
    ours = gold_candles(settings)
    assert matches(pre_market_bars(test_data), ours) == 293
    assert volume_matches(regular_bars(test_data), ours) == 1551
    assert trades_kept(settings) == EQUITY_TRADES


def delete_all_topics(settings: Settings) -> None:
    found = AdminClient(settings.kafka_client()).list_topics(timeout=10).topics
    delete_topics(settings, [name for name in found if settings.tickhouse_namespace in name])
