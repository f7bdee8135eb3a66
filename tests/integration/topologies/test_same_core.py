"""Backfill, the topology and the core give the same records for the same messages."""

from __future__ import annotations

from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    Candle,
    decode_candle,
)
from app.feeds.replay import command as replay
from app.message_parser import MessageRejectedError, decode
from app.topics import ensure_topics
from tests.integration.topologies.workload import messages
from tests.published import arriving_late
from tests.support import await_consumed, read_topic, running, send, values
from topologies import backfill
from topologies.core.candle import Rules, SymbolCandles


def candles_in(settings, topic: str) -> list[Candle]:
    return [decode_candle(message.value()) for message in read_topic(settings, topic)]


def test_backfill_and_the_topology_make_the_same_candles_of_late_recorded_trades(
    make_settings, gold_data, tmp_path
):
    settings = make_settings(kafka_partitions=1)
    late = tmp_path / "late.parquet"
    arriving_late(gold_data / "gold_futures_trades.parquet", late, 30_000, seed=30)
    ensure_topics(settings)
    replay.run(settings, late)
    with running(settings, "candles", log=tmp_path / "log"):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    streamed, filed = tmp_path / "streamed.parquet", tmp_path / "filed.parquet"
    backfill.write(candles_in(settings, CANDLES_TOPIC), streamed)
    backfill.run(settings, [late], filed, price_rule=None)
    expected = pq.read_table(filed)
    assert expected.num_rows > 1_500
    assert {"final", "revised"} <= set(expected["status"].to_pylist())
    assert pq.read_table(streamed).equals(expected)


@pytest.fixture(params=["plain", "compiled"])
def core(request, monkeypatch) -> str:
    """Which core the worker runs; this process has the plain one."""
    if request.param == "compiled":
        folder = request.getfixturevalue("compiled_core")
        monkeypatch.setenv("PYTHONPATH", str(folder))
    return request.param


def test_every_record_of_the_topology_is_the_cores(make_settings, tmp_path, core):
    settings = make_settings(kafka_partitions=1)
    ensure_topics(settings)
    sent = list(messages(seed=6, count=6_000))
    send(settings, STOCKS_TOPIC, sent)
    with running(settings, "candles", log=tmp_path / "log"):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    assert f"candle core: {core}" in (tmp_path / "log").read_text()

    rules, symbols = Rules("replay"), {}
    expected: dict[str, list[Candle]] = defaultdict(list)
    rejected: list[tuple[int, str, list[int] | None]] = []
    for offset, (key, value) in enumerate(sent):
        try:
            message, rejections, indices = decode(key, value, "replay")
        except MessageRejectedError as error:
            rejected.append((offset, error.rejection.reason, None))
            continue
        assert not rejections
        symbol = symbols.setdefault(key, SymbolCandles(message.symbol, rules, Counter()))
        outcome = symbol.apply(message, offset, indices)
        rejected += [(offset, r.reason, list(r.indices)) for r in outcome.rejections]
        expected[CANDLES_TOPIC] += outcome.records
        expected[LIVE_TOPIC] += outcome.partials
        for rollup in outcome.rollups:
            expected[ROLLUP_TOPICS[rollup.interval]].append(rollup)

    for topic in (CANDLES_TOPIC, LIVE_TOPIC, *ROLLUP_TOPICS.values()):
        assert candles_in(settings, topic) == expected[topic]
    assert all(expected[topic] for topic in (CANDLES_TOPIC, LIVE_TOPIC, ROLLUP_TOPICS["1h"]))
    records = values(read_topic(settings, REJECTED_TOPIC))
    assert [(r["offset"], r["reason"], r["indices"]) for r in records] == rejected
    assert {reason for _, reason, _ in rejected} >= {"schema", "late"}
