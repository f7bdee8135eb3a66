"""Rollups of real trades against those of the published bars, and in their four topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.contracts import (
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    Candle,
    Message,
    Trade,
    Trades,
    Watermark,
    decode_candle,
)
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.settings import Settings
from app.topics import ensure_topics
from tests.published import Bar, bar, gold_bars, pre_market_bars, regular_bars, rolled_up
from tests.support import await_consumed, read_topic, running, send_messages
from topologies import backfill
from topologies.backfill import BackfillError
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.window import newest

MINUTE, HOUR = 60_000, 3_600_000
OPENS = 1_700_058_600_000  # 2023-11-15 09:30 in New York


def run(messages: Iterable[Message], rules: Rules) -> tuple[list[Candle], list[Candle]]:
    """Minutes and rollups of messages, in memory."""
    symbols: dict[str, SymbolCandles] = {}
    minutes, rollups = [], []
    for offset, message in enumerate(messages):
        symbol = message.symbol
        if symbol not in symbols:
            symbols[symbol] = SymbolCandles(symbol, rules, Counter())
        outcome = symbols[symbol].apply(message, offset, None)
        minutes += outcome.records
        rollups += outcome.rollups
    return minutes, rollups


def equity_bars(folder: Path) -> dict[tuple[str, int], Bar]:
    return pre_market_bars(folder) | regular_bars(folder)


def bar_of(candle: Candle) -> Bar:
    return bar(candle.open, candle.high, candle.low, candle.close, candle.volume)


@pytest.mark.parametrize(
    ("folder", "file", "published_bars", "expected"),
    [
        ("gold_data", "gold_futures", gold_bars, {"5m": 424, "15m": 201, "1h": 85, "1d": 5}),
        ("test_data", "us_equities", equity_bars, {"5m": 145, "15m": 42, "1h": 16}),
    ],
)
def test_rollups_equal_those_of_the_published_bars_wherever_all_their_minutes_do(
    request: pytest.FixtureRequest,
    folder: str,
    file: str,
    published_bars: Any,
    expected: dict[str, int],
):
    data = request.getfixturevalue(folder)
    rules = Rules("replay", "all")
    trades = read_trades(data / f"{file}_trades.parquet")
    made, rollups = run(
        messages(trades, "replay", rules.grace_ms, rules.allowed_lateness_ms), rules
    )
    minutes = {(c.symbol, c.window_start): c for c in newest(made).values()}
    published = published_bars(data)
    compared: Counter[str] = Counter()
    for rollup in newest(rollups).values():
        span = range(rollup.window_start, rollup.window_end, MINUTE)
        keys = [(rollup.symbol, start) for start in span]
        ours = [minutes[key] for key in keys if key in minutes]
        theirs = [published[key] for key in keys if key in published]
        if [bar_of(c) for c in ours] == theirs:
            assert bar_of(rollup) == rolled_up(theirs), rollup.candle_id
            compared[rollup.interval] += 1
    assert compared == expected


def a_day(symbol: str) -> Iterable[Message]:
    """Trades before, in and after the regular session, late ones, and the end of the day."""
    received_at = OPENS
    for number in range(400):
        t = OPENS + (number - 60) * MINUTE * 2 + number * 97
        late = t - 3 * MINUTE if number % 7 == 0 else t
        received_at = max(received_at, t)
        price = Decimal(1000 + number * 7 % 31) / 10
        prints = [Trade(late, price, Decimal(5), ["1"]), Trade(t, price + 1, Decimal(1), ["12"])]
        yield Trades(symbol, "replay", "a", "c", received_at, prints)
        yield Watermark(symbol, "replay", "a", received_at, t - 5_000, t - t % MINUTE, 60_000)
    end = OPENS + 24 * HOUR
    yield Watermark(symbol, "replay", "a", end, end)


def test_the_four_topics_carry_what_the_core_makes(make_settings, tmp_path):
    settings = make_settings(kafka_partitions=1, candle_commit_interval_s=0.2)
    ensure_topics(settings)
    symbols = ("AAPL", "BINANCE:BTCUSDT")
    sent = [message for pair in zip(*map(a_day, symbols), strict=True) for message in pair]
    send_messages(settings, STOCKS_TOPIC, sent)
    with running(settings, "candles", log=tmp_path / "log"):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    _, expected = run(sent, Rules("replay"))
    statuses = set()
    for interval, topic in ROLLUP_TOPICS.items():
        read = read_topic(settings, topic)
        found = [decode_candle(message.value()) for message in read]
        assert found == [rollup for rollup in expected if rollup.interval == interval]
        assert {message.key() for message in read} == {symbol.encode() for symbol in symbols}
        statuses |= {(interval, candle.status) for candle in found}
    every = {(i, s) for i in ROLLUP_TOPICS for s in ("partial", "final", "revised")}
    assert statuses == every - {("1d", "revised")}


def test_backfill_writes_the_candles_of_the_interval_it_is_asked_for(tmp_path):
    trades, out = tmp_path / "trades.csv", tmp_path / "candles.parquet"
    rows = [f"SPY,{OPENS + minute * MINUTE},{10 + minute},1" for minute in range(7)]
    trades.write_text("\n".join(["symbol,t,p,v", *rows]))
    backfill.run(Settings(_env_file=None), [trades], out, price_rule=None, interval="5m")
    found = [
        (row["interval"], row["status"], row["revision"], row["trade_count"])
        for row in pq.read_table(out).to_pylist()
    ]
    growing = [("5m", "partial", None, count) for count in (1, 2, 3, 4)]
    assert found == [*growing, ("5m", "final", 0, 5), growing[1]]
    with pytest.raises(BackfillError, match="--interval 2m is unknown; it is 1m, 5m, 15m, 1h, 1d"):
        backfill.run(Settings(_env_file=None), [trades], out, price_rule=None, interval="2m")
