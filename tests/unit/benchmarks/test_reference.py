"""The reference that judges contestants, against candles worked out by hand and by the core."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from app.contracts import Message, Trade, Trades
from benchmarks._reference import Prints, ReferenceBar, WrongCandlesError, check, full
from benchmarks._workload import BASE, SYMBOLS, Workload, simulator_framing
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.window import newest


def message(*trades: tuple[int, str, int, list[str]]) -> Message:
    made = [Trade(BASE + t, Decimal(p), Decimal(v), c) for t, p, v, c in trades]
    return Trades(SYMBOLS[0], "replay", "b", "c", BASE + 500, made)


def candles(*messages: Message, by_tape: bool = True) -> dict[tuple[str, int], object]:
    prints = Prints()
    assert list(prints.recorded(messages)) == list(messages)
    return {key: bar.bar for key, bar in prints.candles(by_tape).items()}


def test_open_and_close_go_by_time_then_arrival() -> None:
    first = message((10, "1.05", 2, ["1"]), (5, "1.02", 3, ["1"]), (10, "1.01", 4, ["1"]))
    assert candles(first) == {(SYMBOLS[0], BASE): ReferenceBar(102, 105, 101, 101, 9, 920, 3)}


def test_a_repeated_message_counts_once() -> None:
    first = message((10, "1.05", 2, ["1"]))
    assert candles(first, first) == candles(first)


def test_odd_lots_set_prices_only_where_there_is_nothing_else_and_only_by_the_tape() -> None:
    odd, round_ = (1, "9.00", 1, ["1", "12"]), (2, "5.00", 100, ["1"])
    assert candles(message(odd, round_)) == {
        (SYMBOLS[0], BASE): ReferenceBar(500, 500, 500, 500, 101, 50900, 2)
    }
    assert candles(message(odd)) == {
        (SYMBOLS[0], BASE): ReferenceBar(900, 900, 900, 900, 1, 900, 1)
    }
    assert candles(message(odd, round_), by_tape=False) == {
        (SYMBOLS[0], BASE): ReferenceBar(900, 900, 500, 500, 101, 50900, 2)
    }


def test_agrees_with_the_core_on_a_workload() -> None:
    workload, prints = Workload(20_000, [1, 3, 10]), Prints()
    symbols = {symbol: SymbolCandles(symbol, Rules("replay"), Counter()) for symbol in SYMBOLS}
    records = [
        record
        for offset, message in enumerate(prints.recorded(workload))
        for record in symbols[message.symbol].apply(message, offset, None).records
        if record.interval == "1m"
    ]
    found = {(c.symbol, c.window_start): full(c) for c in newest(records).values()}
    assert any(candle.duplicate_count for candle in found.values())
    check("core", found, prints.candles(by_tape=True))


def test_a_candle_that_differs_is_named() -> None:
    with pytest.raises(WrongCandlesError, match="core has 2 for A at 60000, the reference 1"):
        check("core", {("A", 0): 1, ("A", 60_000): 2}, {("A", 0): 1, ("A", 60_000): 1})


def test_a_workload_is_the_same_each_time_and_a_shorter_one_its_beginning() -> None:
    long, short = list(Workload(5_000, [1, 2])), list(Workload(2_000, [1, 2]))
    assert long == list(Workload(5_000, [1, 2]))
    behind = 1 + 2 * len(SYMBOLS)
    assert long[: len(short) - behind] == short[:-behind]


def test_the_simulators_frames_make_messages_of_several_sizes() -> None:
    sizes = simulator_framing(seconds=1)
    assert min(sizes) == 1
    assert max(sizes) > 1
    assert sum(sizes) > 10_000
