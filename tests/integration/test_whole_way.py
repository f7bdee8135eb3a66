"""Real trades through every joint: replay → Kafka → candles → S3 → loader → dbt → gold."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import AdminClient

from app.settings import Settings
from app.topics import ensure_topics
from tests.published import gold_bars, matches, pre_market_bars, regular_bars, volume_matches
from tests.replay_to_gold import (
    AS_PUBLISHED,
    GOLD_TRADES,
    gold_candles,
    load_all,
    replay,
    warehouse,
)
from tests.support import delete_topics, running

EQUITY_TRADES = 654_140


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


@pytest.mark.drill
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
