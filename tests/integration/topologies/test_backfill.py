"""Candles of recorded trades equal the bars that vendors published for them."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.contracts import Message, Trades, Watermark
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.settings import Settings
from tests.published import (
    arriving_late,
    bar,
    gold_bars,
    matches,
    pre_market_bars,
    regular_bars,
    volume_matches,
)
from topologies import backfill
from topologies.core.candle import Rules
from topologies.core.window import market_fields, newest

pytestmark = pytest.mark.usefixtures("utc")


def candles_of(trades: Path, out: Path):
    """The last revision of each candle of a trade file under rule `all`, as published bars are."""
    backfill.run(Settings(_env_file=None), [trades], out, price_rule="all")
    return last_revisions(out)


def last_revisions(out: Path):
    newest = {}
    for row in pq.read_table(out).to_pylist():
        key = (row["symbol"], round(row["window_start"].timestamp() * 1000))
        known = newest.get(key)
        if known is None or row["revision"] > known["revision"]:
            newest[key] = row
    return {
        key: bar(*(row[name] for name in ("open", "high", "low", "close", "volume")))
        for key, row in newest.items()
    }


def arrived(trades: Path, late_ms: int, folder: Path) -> Path:
    """The trade file as it arrives up to `late_ms` late."""
    if not late_ms:
        return trades
    arriving_late(trades, folder / "late.parquet", late_ms, seed=late_ms)
    return folder / "late.parquet"


@pytest.mark.parametrize("late_ms", [0, 4_000, 30_000])
def test_gold_futures_equal_all_complete_published_bars(gold_data, tmp_path, late_ms):
    trades = arrived(gold_data / "gold_futures_trades.parquet", late_ms, tmp_path)
    published = gold_bars(gold_data)
    assert len(published) == 1490
    ours = candles_of(trades, tmp_path / "candles.parquet")
    assert matches(published, ours) == 1490


@pytest.mark.parametrize(
    "late_ms",
    [
        pytest.param(0, marks=pytest.mark.drill),
        4_000,
        pytest.param(30_000, marks=pytest.mark.drill),
    ],
)
def test_us_equities_equal_the_published_bars(test_data, tmp_path, late_ms):
    trades = arrived(test_data / "us_equities_trades.parquet", late_ms, tmp_path)
    ours = candles_of(trades, tmp_path / "candles.parquet")
    pre, regular = pre_market_bars(test_data), regular_bars(test_data)
    assert (len(pre), len(regular)) == (293, 1552)
    assert matches(pre, ours) == 293
    assert volume_matches(regular, ours) == 1551


def repeated(messages: list[Message], rng: random.Random) -> list[Message]:
    """Every message twice, some time apart, and every tenth three times in a row."""
    out: list[Message] = []
    for number, message in enumerate(messages):
        out += [message] * (3 if number % 10 == 0 else 1)
        if number >= 50:
            out.append(messages[number - rng.randint(1, 50)])
    return out


def shuffled_within_grace(messages: list[Message], rng: random.Random, grace_ms: int):
    """Each trade a message of its own, up to half the grace late; equal (symbol, t) keep order."""
    singles = [
        (trade, message)
        for message in messages
        if isinstance(message, Trades)
        for trade in message.trades
    ]
    delay: dict[tuple[str, int], int] = {}
    for trade, message in singles:
        delay.setdefault((message.symbol, trade.t), rng.randint(0, grace_ms // 2))
    singles.sort(key=lambda pair: pair[0].t + delay[pair[1].symbol, pair[0].t])
    largest: dict[str, int] = {}
    for trade, message in singles:
        symbol = message.symbol
        largest[symbol] = max(largest.get(symbol, 0), trade.t)
        yield Trades(symbol, "replay", "r", "c", largest[symbol], [trade])
    yield from (m for m in messages if isinstance(m, Watermark) and m.t % 60_000 == 0)


@pytest.mark.parametrize("arrival", [repeated, shuffled_within_grace])
def test_repeated_messages_and_trades_out_of_order_change_no_market_field(gold_data, arrival):
    rules = Rules("replay", "all")
    trades = read_trades(gold_data / "gold_futures_trades.parquet")
    sent = list(messages(trades, "replay", rules.grace_ms, rules.allowed_lateness_ms))
    undisturbed = newest(backfill.Backfill(rules).records(copy.deepcopy(sent)))
    more = (rules.grace_ms,) if arrival is shuffled_within_grace else ()
    disturbed = newest(backfill.Backfill(rules).records(arrival(sent, random.Random(1), *more)))
    assert len(undisturbed) >= 1500
    assert {key: market_fields(candle) for key, candle in disturbed.items()} == {
        key: market_fields(candle) for key, candle in undisturbed.items()
    }
