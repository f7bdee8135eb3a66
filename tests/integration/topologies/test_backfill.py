"""Candles of real recorded trades against the bars that vendors published for them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

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


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Naive timestamps of the file are UTC."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("late_ms", [0, 4_000, 30_000])
def test_gold_futures_equal_all_complete_published_bars(test_data, tmp_path, late_ms):
    trades = test_data / "gold_futures_trades.parquet"
    if late_ms:
        arriving_late(trades, tmp_path / "late.parquet", late_ms, seed=late_ms)
        trades = tmp_path / "late.parquet"
    published = gold_bars(test_data)
    assert len(published) == 1490
    ours = candles_of(trades, tmp_path / "candles.parquet")
    assert matches(published, ours) == 1490


@pytest.mark.parametrize("late_ms", [0, 4_000, 30_000])
def test_us_equities_equal_the_published_bars(test_data, tmp_path, late_ms):
    trades = test_data / "us_equities_trades.parquet"
    if late_ms:
        arriving_late(trades, tmp_path / "late.parquet", late_ms, seed=late_ms)
        trades = tmp_path / "late.parquet"
    ours = candles_of(trades, tmp_path / "candles.parquet")
    pre, regular = pre_market_bars(test_data), regular_bars(test_data)
    assert (len(pre), len(regular)) == (293, 1552)
    assert matches(pre, ours) == 293
    assert volume_matches(regular, ours) == 1551
