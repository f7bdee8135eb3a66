"""Recorded trades through every joint up to gold, and gold in the form of published bars."""

from __future__ import annotations

from pathlib import Path

import duckdb

from app.contracts import CANDLES_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from app.topics import topic_ids
from app.warehouse import commands, published
from tests.published import Bar, bar
from tests.support import HANG_S, await_, await_consumed, read_topic, start

GOLD_TRADES = 40_192
AS_PUBLISHED = {
    "candle_price_rule": "all",
    "archive_flush_interval_s": 2,
    "kafka_partitions": 2,
}
"""Settings under which candles are the bars of vendors."""


def replay(settings: Settings, file: Path, log: Path) -> None:
    replaying = start(settings, "replay", str(file), log=log)
    assert replaying.wait(HANG_S) == 0, log.read_text()


def load_all(settings: Settings) -> None:
    """Wait until the lake holds every candle of the topic, and bring gold up to it."""
    await_consumed(settings, STOCKS_TOPIC, "candles")
    await_consumed(settings, STOCKS_TOPIC, "archive")
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

    await_(loaded, what="all candles to be loaded")
    assert commands.build(settings).built


def warehouse(settings: Settings, sql: str) -> list[tuple]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def gold_candles(settings: Settings) -> dict[tuple[str, int], Bar]:
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
