"""A recording played as a market."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.market.tape import PAUSE_MS, Tape

NOW_MS = 1_780_000_000_000
T = 1_385_000_000_000
CSV = f"""symbol,t,p,v,c
AAPL,{T},10.5,100,1
AAPL,{T + 3_000},10.25,5,"1,12"
AAPL,{T + 2_000},11,100,
SPY,{T + 1_000},150,0.5,
"""


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    path = tmp_path / "trades.csv"
    path.write_text(CSV)
    return Tape(path, NOW_MS)


def test_each_trade_comes_in_its_time_shifted_to_now(tape: Tape) -> None:
    assert tape.step(NOW_MS + 1, ["AAPL", "SPY"]) == [Print(["1"], 10.5, "AAPL", NOW_MS, 100)]
    assert tape.step(NOW_MS + 1_000, ["AAPL", "SPY"]) == []
    assert tape.step(NOW_MS + 1_001, ["AAPL", "SPY"]) == [
        Print(None, 150, "SPY", NOW_MS + 1_000, 0.5)
    ]


def test_a_trade_that_was_late_is_late_again(tape: Tape) -> None:
    tape.step(NOW_MS + 3_000, ["AAPL"])
    prints = tape.step(NOW_MS + 3_001, ["AAPL"])
    assert [(item.t - NOW_MS, item.p) for item in prints] == [(3_000, 10.25), (2_000, 11)]


def test_it_begins_again_at_its_end(tape: Tape) -> None:
    length_ms = 3_000 + PAUSE_MS
    prints = tape.step(NOW_MS + 3 * length_ms, ["AAPL"])
    assert [item.t - NOW_MS for item in prints if item.p == 10.5] == [0, length_ms, 2 * length_ms]
    assert len(prints) == 9


def test_what_no_one_listens_to_passes(tape: Tape) -> None:
    assert tape.step(NOW_MS + 2_000, ["MSFT"]) == []
    tape.skip(NOW_MS + 3_001)
    assert tape.step(NOW_MS + 3_500, ["AAPL"]) == []
    assert (tape.quote("AAPL").h, tape.quote("SPY").c) == (11, 150)
    assert tape.quote("MSFT").c == 0
    assert tape.symbols == ["AAPL", "SPY"]


def test_ten_minutes_of_recorded_trades_are_ten_minutes_of_the_file(gold_data: Path) -> None:
    path = gold_data / "gold_futures_trades.parquet"
    rows = pq.read_table(path).to_pylist()
    first = min(row["t"] for row in rows)
    wanted = Counter(
        (row["t"] - first, float(row["p"]), float(row["v"]))
        for row in rows
        if row["t"] < first + 600_000
    )
    tape = Tape(path, NOW_MS)
    prints = [
        item
        for end_ms in range(NOW_MS + 50, NOW_MS + 600_001, 50)
        for item in tape.step(end_ms, tape.symbols)
    ]
    assert Counter((item.t - NOW_MS, item.p, item.v) for item in prints) == wanted
    assert len(prints) > 100


def test_a_burst_is_of_prices_just_seen(tape: Tape) -> None:
    tape.step(NOW_MS + 1_001, ["AAPL", "SPY"])
    burst = tape.burst(1_000, ["AAPL", "SPY"])
    assert len(burst) == 1_000
    assert {(item.s, item.p) for item in burst} == {("AAPL", 10.5), ("SPY", 150)}
    assert tape.burst(10, ["MSFT"]) == []
