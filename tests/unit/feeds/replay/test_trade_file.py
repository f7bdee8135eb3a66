"""Trade files: which rows are trades, in which order, and what is reported about the others."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.feeds.replay.trade_file import FileTrade, TradeFile, read_trades
from app.feeds.replay.trade_files.options import TradeFileError

T = 1_381_239_000_000
Write = Callable[..., Path]


@pytest.fixture
def parquet(tmp_path: Path) -> Write:
    def write(**columns: Any) -> Path:
        path = tmp_path / "trades.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


@pytest.fixture
def csv(tmp_path: Path) -> Write:
    def write(text: str, name: str = "trades.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def _times(file: TradeFile) -> list[tuple[str, int]]:
    return [(trade.symbol, trade.t - T) for trade in file]


def test_rows_come_in_file_order_with_exact_decimals(parquet: Write) -> None:
    path = parquet(
        symbol=["B", "A"], t=[T + 5, T], p=[0.1, 167.42000000000002], v=[1, 2], c=["1,12", None]
    )
    assert list(read_trades(path)) == [
        FileTrade("B", T + 5, Decimal("0.1"), Decimal(1), ["1", "12"]),
        FileTrade("A", T, Decimal("167.42"), Decimal(2), None),
    ]


def test_seq_puts_a_symbols_rows_into_its_indices(parquet: Write) -> None:
    path = parquet(
        symbol=["A", "B", "A", "A", "B"],
        seq=[2, 0, 0, 1, 1],
        t=[T + 2, T + 10, T + 0, T + 1, T + 11],
        p=[1.0] * 5,
        v=[1] * 5,
    )
    assert _times(read_trades(path)) == [("A", 0), ("B", 10), ("A", 1), ("A", 2), ("B", 11)]


def test_equal_seq_keeps_file_order(parquet: Write) -> None:
    path = parquet(symbol=["A"] * 3, seq=[1, 0, 0], t=[T, T + 1, T + 2], p=[1.0] * 3, v=[1] * 3)
    assert _times(read_trades(path)) == [("A", 1), ("A", 2), ("A", 0)]


def test_without_seq_nothing_is_sorted(parquet: Write) -> None:
    path = parquet(symbol=["A"] * 3, t=[T + 2, T, T + 1], p=[1.0] * 3, v=[1] * 3)
    assert _times(read_trades(path)) == [("A", 2), ("A", 0), ("A", 1)]


def test_interleaved_plays_symbols_side_by_side_and_keeps_each_ones_order(parquet: Write) -> None:
    path = parquet(
        symbol=["A", "A", "A", "B", "B"],
        t=[T + 0, T + 20, T + 10, T + 5, T + 30],
        p=[1.0] * 5,
        v=[1] * 5,
    )
    times = [(trade.symbol, trade.t - T) for trade in read_trades(path).interleaved()]
    assert times == [("A", 0), ("B", 5), ("A", 20), ("A", 10), ("B", 30)]


def test_spans_report_what_the_file_holds(parquet: Write) -> None:
    file = read_trades(parquet(symbol=["A", "B", "A"], t=[T + 2, T, T + 1], p=[1.0] * 3, v=[1] * 3))
    assert file.rows == 3
    assert file.spans == {"A": (2, T + 1, T + 2), "B": (1, T, T)}


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("p", float("nan"), "row 2: p 'nan' is not a price"),
        ("p", -1.0, "row 2: p '-1.0' is not a price"),
        ("p", None, "row 2: p 'None' is not a price"),
        ("p", 0.0, "is not a price"),
        ("p", 1e300, "is not a price"),
        ("v", -1.0, "row 2: v '-1.0' is not a size"),
        ("v", float("inf"), "is not a size"),
        ("t", None, "row 2: t"),
        ("t", 1, "row 2: t '1' is not a time"),
        ("symbol", None, "row 2: symbol"),
        ("symbol", "aapl", "is not a symbol"),
    ],
)
def test_a_bad_row_is_named_and_left_out(
    parquet: Write, column: str, value: Any, named: str
) -> None:
    columns: dict[str, list[Any]] = {
        "symbol": ["A"] * 3,
        "t": [T, T + 1, T + 2],
        "p": [1.0] * 3,
        "v": [1.0] * 3,
    }
    columns[column][1] = value
    file = read_trades(parquet(**columns))
    assert file.bad_count == 1
    assert named in file.bad_rows[0].reason
    assert _times(file) == [("A", 0), ("A", 2)]


def test_a_notional_too_large_is_a_bad_row(parquet: Write) -> None:
    file = read_trades(parquet(symbol=["A"] * 2, t=[T, T], p=[1.0, 1e9], v=[1.0, 1e9]))
    assert "times v" in file.bad_rows[0].reason


@pytest.mark.parametrize("digits", [28, 100])
def test_a_price_that_only_rounding_lifts_to_17_digits_is_a_bad_row(
    parquet: Write, digits: int
) -> None:
    prices = [Decimal("9" * 16 + "." + "9" * 13), Decimal(1)]
    with localcontext(prec=digits):
        file = read_trades(parquet(symbol=["A"] * 2, t=[T, T], p=prices, v=[0.1, 1.0]))
    assert "is not a price" in file.bad_rows[0].reason


@pytest.mark.parametrize(
    "codes",
    [
        pa.array(["1,12", "", None]),
        pa.array([["1", "12"], [], None]),
        pa.array([[1, 12], [], None]),
        pa.array(['["1", "12"]', "[]", None]),
        pa.array(["1,12", "", None]).dictionary_encode(),
    ],
)
def test_conditions_are_lists_or_text(parquet: Write, codes: pa.Array[Any]) -> None:
    path = parquet(symbol=["A"] * 3, t=[T] * 3, p=[1.0] * 3, v=[1] * 3, c=codes)
    assert [trade.c for trade in read_trades(path)] == [["1", "12"], None, None]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.string()])
def test_prices_of_every_numeric_type_keep_their_digits(parquet: Write, kind: pa.DataType) -> None:
    prices = pa.array(["167.42", "0.10"]).cast(kind)
    path = parquet(symbol=["A"] * 2, t=[T] * 2, p=prices, v=[1, 1])
    assert [trade.p for trade in read_trades(path)] == [Decimal("167.42"), Decimal("0.1")]


def test_csv_reads_like_parquet(csv: Write) -> None:
    path = csv(f'symbol, t,p,v,c,seq\nA,{T},1.10,5,"1,12",1\nA,{T + 1},1.2,0,,0\n')
    assert list(read_trades(path)) == [
        FileTrade("A", T + 1, Decimal("1.2"), Decimal(0), None),
        FileTrade("A", T, Decimal("1.10"), Decimal(5), ["1", "12"]),
    ]


def test_bad_csv_connections_are_named_and_the_others_kept(csv: Write) -> None:
    file = read_trades(
        csv(f"symbol,t,p,v\nA,{T},1,1\nA,{T}\nA,soon,1,1\nA,{T},NaN,1\nA,{T},x,1\nA,{T + 1},2,1\n")
    )
    assert _times(file) == [("A", 0), ("A", 1)]
    assert file.bad_count == 4
    assert any("too few" in bad.reason for bad in file.bad_rows)


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("", "a.csv", "has no column symbol, t, p, v"),
        ("PK\x03\x04", "a.parquet", "is not a Parquet file"),
        ("PAR1 and nothing more", "a.parquet", "not a sound Parquet file"),
        (
            "symbol,time,price\nA,1,2\n",
            "a.csv",
            "has no column t, p, v; it has symbol, time, price",
        ),
        ("symbol,t,p,v,p\n", "a.csv", "column p twice"),
        ("symbol,t,p,v\n", "a.csv", "holds no trade"),
        (f"symbol,t,p,v\nA,{T},-1,1\n", "a.csv", "holds no trade: line 2: p"),
    ],
)
def test_a_file_that_cannot_be_read_gets_a_sentence(
    csv: Write, text: str, name: str, sentence: str
) -> None:
    with pytest.raises(TradeFileError, match=sentence.replace("(", r"\(")):
        read_trades(csv(text, name))


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TradeFileError, match=r"nowhere.csv cannot be read: No such file"):
        read_trades(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("kind", [pa.date32(), pa.bool_(), pa.list_(pa.int64())])
def test_what_holds_no_times_gets_a_sentence(parquet: Write, kind: pa.DataType) -> None:
    path = parquet(symbol=["A"], t=pa.array([None], kind), p=[1.0], v=[1])
    with pytest.raises(TradeFileError, match=r"in the column t; it must hold times"):
        read_trades(path)


def test_a_parquet_file_without_the_columns_gets_a_sentence(parquet: Write) -> None:
    with pytest.raises(TradeFileError, match=r"has no column symbol, p, v; it has t, close"):
        read_trades(parquet(t=[T], close=[1.0]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 5)), min_size=1, max_size=30))
def test_seq_orders_each_symbol_and_moves_no_symbols_indices(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("seq") / "trades.parquet"
    symbols, seqs = [s for s, _ in rows], [q for _, q in rows]
    times = list(range(T, T + len(rows)))
    ones = [1.0] * len(rows)
    pq.write_table(
        pa.table({"symbol": symbols, "seq": seqs, "t": times, "p": ones, "v": ones}), path
    )
    read = list(read_trades(path))
    assert [trade.symbol for trade in read] == symbols
    for symbol in "ABC":
        wanted = sorted((q, t) for (s, q), t in zip(rows, times, strict=True) if s == symbol)
        assert [trade.t for trade in read if trade.symbol == symbol] == [t for _, t in wanted]


def test_the_recorded_tape_is_read_complete(test_data: Path) -> None:
    file = read_trades(test_data / "us_equities_trades.parquet")
    assert (file.rows, file.bad_count) == (654_140, 0)
    assert sum(1 for _ in file) == 654_140
