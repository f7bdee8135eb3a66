"""The broker is killed for a minute while trades go on: nothing is lost, and the order is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.embedded.kafka import KafkaServer
from app.embedded.s3 import S3Server
from app.feeds.simulator.delivery_log.ledger import expected_trades
from app.feeds.simulator.delivery_log.log import read_deliveries
from app.topics import ensure_topics
from tests.integration.feeds.simulator_process import TOKEN, simulator_process
from tests.integration.feeds.topic_reader import stocks, trades_of
from tests.support import await_, end_offsets, running, settings_on

SYMBOLS = [f"S{number:02d}" for number in range(50)]
AWAY_S = 60
MORE_AFTER = 20_000_000
"""Bytes by which a producer may be larger in the minute after it has caught up."""


@pytest.mark.drill
def test_a_broker_that_is_killed_for_a_minute_costs_nothing(
    private_kafka: KafkaServer, s3_server: S3Server, tmp_path: Path, record_property: Any
) -> None:
    settings = settings_on(
        s3_server,
        tmp_path / "data",
        kafka_brokers=private_kafka.brokers,
        tickhouse_feed="simulated",
        stocks_symbols=SYMBOLS,
        finnhub_api_key=TOKEN,
    )
    ensure_topics(settings)
    log = tmp_path / "deliveries.jsonl"

    def sent() -> int:
        return sum(end_offsets(settings, "stocks-topic").values())

    def grows(from_: int, by: int) -> None:
        await_(lambda: sent() >= from_ + by, what=f"{by} more messages")

    with (
        simulator_process("--rate", "1000", log=log, folder=tmp_path) as simulator,
        running(simulator.settings(settings), "produce", log=tmp_path / "produce.log") as producer,
    ):
        memory = psutil.Process(producer.pid).memory_info
        grows(0, 10_000)
        before = memory().rss
        private_kafka.kill()
        time.sleep(AWAY_S)
        away = memory().rss
        private_kafka.start()
        behind = sent()
        grows(behind, AWAY_S * 500)
        caught_up = memory().rss
        grows(sent(), 30_000)
        after = memory().rss
        simulator.stop()

    record_property("rss_mb", [size // 1_000_000 for size in (before, away, caught_up, after)])
    found = expected_trades(read_deliveries(log))
    messages = stocks(settings)
    assert found.unconfirmed == 0
    assert found.genuine > AWAY_S * 1_000
    for symbol in SYMBOLS:
        wanted = [(t.t, t.p, t.v, t.k) for t in found.trades if t.symbol == symbol]
        assert [(t.t, t.p, t.v, t.k) for t in trades_of(messages, symbol)] == wanted
    assert after < caught_up + MORE_AFTER
    assert after < before + settings.kafka_buffer_mib * 1_000_000
