"""Simulator and producer as processes: Kafka holds what the delivery log records as delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.contracts import Message, Quote, Trades, Watermark
from app.feeds.simulator.delivery_log.ledger import expected_trades
from app.feeds.simulator.delivery_log.log import read_deliveries
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.simulator_process import TOKEN, simulator_process
from tests.integration.feeds.topic_reader import stocks, trades_of
from tests.support import running

SYMBOLS = "AAPL,SPY,TSLA,BINANCE:BTCUSDT"


def trade_count(messages: list[Message]) -> int:
    return sum(len(message.trades) for message in messages if isinstance(message, Trades))


def test_kafka_holds_what_was_delivered(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(
        tickhouse_feed="simulated", stocks_symbols=SYMBOLS, finnhub_api_key=TOKEN
    )
    ensure_topics(settings)
    log = tmp_path / "deliveries.jsonl"
    with (
        simulator_process("--rate", "500", log=log, folder=tmp_path) as simulator,
        running(simulator.settings(settings), "produce", log=tmp_path / "produce.log"),
    ):
        stocks(settings, until=lambda messages: trade_count(messages) >= 2_000)
        simulator.stop()

    messages, found = stocks(settings), expected_trades(read_deliveries(log))
    assert found.unconfirmed == 0
    for symbol in SYMBOLS.split(","):
        wanted = [
            (trade.t, trade.p, trade.v, trade.k) for trade in found.trades if trade.symbol == symbol
        ]
        assert [(item.t, item.p, item.v, item.k) for item in trades_of(messages, symbol)] == wanted
    quoted = {message.symbol for message in messages if isinstance(message, Quote)}
    marked = {message.symbol for message in messages if isinstance(message, Watermark)}
    assert quoted <= set(SYMBOLS.split(","))
    assert marked == set(SYMBOLS.split(","))
