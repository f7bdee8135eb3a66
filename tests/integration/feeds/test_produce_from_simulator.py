"""Simulator and producer as processes: Kafka holds what the delivery log says was delivered."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from app.contracts import STOCKS_TOPIC, Message, Quote, Trades, Watermark, decode
from app.feeds.simulator.delivery import Arrived, Delivery, Sent, read_deliveries
from app.settings import Settings
from app.topics import ensure_topics

TICKHOUSE = str(Path(sys.executable).with_name("tickhouse"))
SYMBOLS = "AAPL,SPY,TSLA,BINANCE:BTCUSDT"
TOKEN = "marker-token"
PATIENCE_S = 60


class Topic:
    """Everything in stocks-topic so far."""

    def __init__(self, settings: Settings) -> None:
        self.messages: list[Message] = []
        self._consumer = Consumer(
            settings.kafka_client() | {"group.id": settings.named("reader"), "log_level": 0}
        )
        name = settings.named(STOCKS_TOPIC)
        partitions = range(settings.kafka_partitions)
        self._consumer.assign([TopicPartition(name, number, 0) for number in partitions])

    def read(self, timeout_s: float) -> bool:
        """Take what is there, or wait `timeout_s` for more; whether there was any."""
        records = self._consumer.consume(50, timeout_s)
        for record in records:
            parsed = decode(record.key(), record.value(), "simulated")
            assert not parsed.refusals
            self.messages.append(parsed.message)
        return bool(records)

    def trades(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            (message.symbol, trade.t, float(trade.p), float(trade.v), tuple(sorted(trade.c or ())))
            for message in self.messages
            if isinstance(message, Trades)
            for trade in message.trades
        )


def delivered(deliveries: list[Delivery], frames: int) -> Counter[tuple[Any, ...]]:
    """The trades of the first `frames` frames."""
    return Counter(
        (trade["s"], trade["t"], trade["p"], trade["v"], tuple(sorted(trade.get("c") or ())))
        for one in deliveries
        if isinstance(one, Sent) and one.frame <= frames
        for trade in json.loads(one.raw).get("data", [])
    )


def environment(settings: Settings, at: str) -> dict[str, str]:
    return os.environ | {
        "TICKHOUSE_NAMESPACE": settings.tickhouse_namespace,
        "TICKHOUSE_FEED": "simulated",
        "TICKHOUSE_DATA_DIR": str(settings.tickhouse_data_dir),
        "KAFKA_BROKERS": settings.kafka_brokers,
        "FINNHUB_API_KEY": TOKEN,
        "FINNHUB_WEBSOCKET_URL": f"ws://{at}",
        "FINNHUB_REST_URL": f"http://{at}/api/v1",
        "STOCKS_SYMBOLS": SYMBOLS,
    }


@pytest.mark.timeout(180)
def test_kafka_holds_what_was_delivered(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(tickhouse_feed="simulated")
    ensure_topics(settings)
    log = tmp_path / "deliveries.jsonl"
    simulate = [TICKHOUSE, "simulate", "--port", "0", "--token", TOKEN, "--rate", "500"]
    with contextlib.ExitStack() as stack:

        def begin(command: list[str], **options: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(command, cwd=tmp_path, text=True, **options)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        simulator = begin([*simulate, "--delivery-log", str(log)], stdout=subprocess.PIPE)
        assert simulator.stdout is not None
        found = re.search(r"ws://([0-9.:]+)", simulator.stdout.readline())
        assert found is not None
        producer = begin([TICKHOUSE, "produce"], env=environment(settings, found[1]))
        topic = Topic(settings)
        while topic.trades().total() < 2_000:
            assert topic.read(PATIENCE_S)
        producer.terminate()
        assert producer.wait(PATIENCE_S) == 0
        while topic.read(2.0):
            pass
        simulator.terminate()
        assert simulator.wait(PATIENCE_S) == 0

    deliveries = read_deliveries(log)
    proved = max(one.frame for one in deliveries if isinstance(one, Arrived))
    assert delivered(deliveries, proved) <= topic.trades() <= delivered(deliveries, sys.maxsize)
    quoted = {message.symbol for message in topic.messages if isinstance(message, Quote)}
    marked = {message.symbol for message in topic.messages if isinstance(message, Watermark)}
    assert quoted <= set(SYMBOLS.split(","))
    assert marked == set(SYMBOLS.split(","))
