"""Simulator and producer as processes: Kafka holds what the delivery log says was delivered."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contracts import Message, Quote, Trades, Watermark
from app.embedded.environment import child_environment
from app.feeds.simulator.delivery import Arrived, Delivery, Sent, read_deliveries
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.topic_reader import stocks
from tests.support import TICKHOUSE

SYMBOLS = "AAPL,SPY,TSLA,BINANCE:BTCUSDT"
TOKEN = "marker-token"
PATIENCE_S = 60


def trade_count(messages: list[Message]) -> int:
    return sum(len(message.trades) for message in messages if isinstance(message, Trades))


def published(messages: list[Message]) -> Counter[tuple[Any, ...]]:
    """The trades of `messages`."""
    return Counter(
        (message.symbol, trade.t, float(trade.p), float(trade.v), tuple(sorted(trade.c or ())))
        for message in messages
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


def at_simulator(settings: Settings, address: str) -> Settings:
    """`settings` with the simulator at `address` as the feed."""
    return settings.model_copy(
        update={
            "finnhub_websocket_url": f"ws://{address}",
            "finnhub_rest_url": f"http://{address}/api/v1",
        }
    )


@pytest.mark.timeout(180)
def test_kafka_holds_what_was_delivered(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(
        tickhouse_feed="simulated", stocks_symbols=SYMBOLS, finnhub_api_key=TOKEN
    )
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
        feed = child_environment(at_simulator(settings, found[1]))
        producer = begin([TICKHOUSE, "produce"], env=feed)
        stocks(settings, until=lambda messages: trade_count(messages) >= 2_000)
        producer.terminate()
        assert producer.wait(PATIENCE_S) == 0
        simulator.terminate()
        assert simulator.wait(PATIENCE_S) == 0

    messages, deliveries = stocks(settings), read_deliveries(log)
    proved = max(one.frame for one in deliveries if isinstance(one, Arrived))
    found_there = published(messages)
    assert delivered(deliveries, proved) <= found_there <= delivered(deliveries, sys.maxsize)
    quoted = {message.symbol for message in messages if isinstance(message, Quote)}
    marked = {message.symbol for message in messages if isinstance(message, Watermark)}
    assert quoted <= set(SYMBOLS.split(","))
    assert marked == set(SYMBOLS.split(","))
