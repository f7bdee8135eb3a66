from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lake import DATASETS
from app.message_parser import MessageRejectedError
from sinks.parquet import SourcePartition, build
from sinks.rows import ROW_COLUMNS, Converter, candle_rows, rejection_rows, stocks_rows
from tests.unit.sinks.records import (
    T0,
    candle,
    quote,
    record,
    rejected,
    trade,
    trades,
    watermark,
)

PLACE = SourcePartition("id", "stocks-topic.1700000000000-5qcLR2G6", 3)
ONE_OF_EACH = [
    ("trades", stocks_rows, trades(trade())),
    ("quotes", stocks_rows, quote()),
    ("coverage", stocks_rows, watermark()),
    ("candles", candle_rows, candle()),
    ("rejected", rejection_rows, rejected()),
]


def rows_of(converter: Converter, message: Any, offset: int = 9) -> list[dict[str, Any]]:
    dataset, rows, _ = converter(record(message, offset), "replay")
    return [dict(zip(ROW_COLUMNS[dataset], row, strict=True)) for row in rows]


@pytest.mark.parametrize(("dataset", "converter", "message"), ONE_OF_EACH)
def test_every_kind_of_message_fills_its_dataset_column_for_column(
    dataset: str, converter: Converter, message: Any
) -> None:
    found, rows, result = converter(record(message, 9), "replay")
    table, kept, skipped_rows = build(found, rows, PLACE)
    assert (found, len(rows), result, skipped_rows) == (dataset, 1, {}, 0)
    assert kept == rows
    assert table.schema.equals(DATASETS[dataset])
    assert {len(row) for row in rows} == {len(ROW_COLUMNS[dataset])}
    (row,) = table.to_pylist()
    assert (row["_topic_id"], row["_incarnation"], row["_partition"]) == PLACE
    assert (row["_offset"], row["_index"]) == (9, 0)
    assert row["_kafka_time"].timestamp() * 1000 == pytest.approx(T0 + 9)


@pytest.mark.parametrize(
    ("dataset", "converter", "message", "renamed"),
    [
        ("candles", candle_rows, candle(), {"candle_interval": "interval"}),
        (
            "rejected",
            rejection_rows,
            rejected(),
            {
                "source_topic_id": "topic_id",
                "source_topic": "topic",
                "source_partition": "partition",
                "source_offset": "offset",
            },
        ),
    ],
)
def test_fields_keep_their_values(
    dataset: str, converter: Converter, message: Any, renamed: dict[str, str]
) -> None:
    (row,) = rows_of(converter, message)
    for column in ROW_COLUMNS[dataset][:-3]:
        if column != "indices":
            assert row[column] == getattr(message, renamed.get(column, column)), column


def test_rollups_are_candles_too_and_partials_are_no_rows() -> None:
    day = candle(interval="1d", pre_volume=Decimal(3), post_volume=Decimal(0))
    (row,) = rows_of(candle_rows, day)
    assert (row["candle_interval"], row["pre_volume"], row["post_volume"]) == ("1d", 3, 0)
    partial = candle(interval="5m", revision=None, status="partial")
    assert candle_rows(record(partial), "replay") == ("candles", [], {})


def test_a_row_a_trade_with_its_place_duplicates_too() -> None:
    twin = trade(c=["12", "1"], frame=4, i=2, k=1)
    found = rows_of(stocks_rows, trades(twin, twin, trade(v=Decimal(0))))
    assert [row["_index"] for row in found] == [0, 1, 2]
    assert found[0] == found[1] | {"_index": 0}
    first = found[0]
    assert (first["frame"], first["frame_index"], first["repeat_index"]) == (4, 2, 1)
    assert (first["trade_time"], first["received_at"]) == (T0, T0 + 5)
    assert (first["session"], first["session_date"]) == ("post", "2023-11-14")


@pytest.mark.parametrize(
    ("codes", "written"), [(None, ""), ([], ""), (["12", "1"], "1,12"), (["1"], "1")]
)
def test_conditions_are_normalised(codes: list[str] | None, written: str) -> None:
    (row,) = rows_of(stocks_rows, trades(trade(c=codes)))
    assert row["conditions"] == written


def test_notional_is_exact_to_18_decimals() -> None:
    (row,) = rows_of(
        stocks_rows, trades(trade(p=Decimal("0.000000000001"), v=Decimal("0.0000015")))
    )
    assert row["notional"] == Decimal("0.000000000000000002")


def test_a_rejected_trade_is_counted_and_the_others_keep_their_indices() -> None:
    bad = trade(p=Decimal(-1))
    dataset, rows, result = stocks_rows(record(trades(bad, trade(), bad, trade())), "replay")
    assert (dataset, [row[-2] for row in rows], result) == ("trades", [1, 3], {"range": 2})


def test_a_quote_of_the_past_lies_in_its_own_session() -> None:
    (row,) = rows_of(stocks_rows, quote(t=T0 // 1000 - 3 * 3600))
    assert (row["session"], row["quote_time"]) == ("regular", T0 - 3 * 3_600_000)
    assert (row["change_amount"], row["change_percent"]) == (None, Decimal("-0.25"))


@pytest.mark.parametrize(("indices", "written"), [(None, None), ([], ""), ([0, 3], "0,3")])
def test_indices_of_a_rejection_are_a_text(indices: list[int] | None, written: str | None) -> None:
    (row,) = rows_of(rejection_rows, rejected(indices=indices))
    assert row["indices"] == written


@pytest.mark.parametrize(
    ("converter", "bad", "reason"),
    [
        (stocks_rows, record(None, value=b"{"), "schema"),
        (stocks_rows, record(None, value=None), "schema"),
        (stocks_rows, record(trades(trade()), key=None), "key"),
        (stocks_rows, record(trades(trade()), key=b"\xff"), "key"),
        (stocks_rows, record(trades(trade(), feed="live")), "feed"),
        (candle_rows, record(None, value=b'{"symbol":"AAPL"}'), "schema"),
        (candle_rows, record(None, value=None), "schema"),
        (candle_rows, record(candle(feed="live")), "feed"),
        (candle_rows, record(candle(window_start=-1)), "range"),
        (rejection_rows, record(None, value=b"\xff"), "schema"),
        (rejection_rows, record(rejected(feed="simulated")), "feed"),
    ],
)
def test_a_rejection_has_its_reason(converter: Converter, bad: Any, reason: str) -> None:
    with pytest.raises(MessageRejectedError) as error:
        converter(bad, "replay")
    assert error.value.rejection.reason == reason


def test_a_value_that_fits_no_column_costs_its_own_row_only() -> None:
    _, rows, _ = stocks_rows(record(trades(*[trade()] * 4)), "replay")
    for number, column in ((1, "frame_index"), (2, "repeat_index")):
        wild = dict(zip(ROW_COLUMNS["trades"], rows[number], strict=True)) | {column: 2**31}
        rows[number] = tuple(wild.values())
    table, kept, skipped_rows = build("trades", rows, PLACE)
    assert (table.column("_index").to_pylist(), len(kept), skipped_rows) == ([0, 3], 2, 2)


def test_a_candle_beyond_its_columns_leaves_an_empty_table() -> None:
    _, rows, _ = candle_rows(record(candle(volume=Decimal(10) ** 30)), "replay")
    table, kept, skipped_rows = build("candles", rows, PLACE)
    assert (table.num_rows, kept, skipped_rows) == (0, [], 1)
    assert table.schema.equals(DATASETS["candles"])


EDGES = ["0", "1", "1e-12", "1e-13", "1.5e-12", "0.1", "9e15", "1e16", "-1", "9007199254740993"]
EDGES += [f"{'9' * 16}.{'9' * n}" for n in (1, 12, 13)] + [f"10.5{'0' * 60}"]
numbers = st.sampled_from(EDGES)
counts = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**70, -1])


@settings(max_examples=300, deadline=None)
@given(numbers, numbers, counts, counts, counts)
def test_whatever_the_parser_takes_of_a_trade_fits_the_lake(
    p: str, v: str, k: int, i: int, frame: int
) -> None:
    body = (
        f'{{"type":"trades","symbol":"AAPL","feed":"replay","source":"a","connection":"c",'
        f'"received_at":{T0},"trades":[{{"t":{T0},"p":{p},"v":{v},"k":{k},"i":{i},'
        f'"frame":{frame}}}]}}'
    )
    dataset, rows, _ = stocks_rows(record(None, value=body.encode()), "replay")
    assert build(dataset, rows, PLACE).skipped_rows == 0


@given(numbers, numbers)
def test_whatever_the_parser_takes_of_a_quote_fits_the_lake(c: str, d: str) -> None:
    body = (
        f'{{"type":"quote","symbol":"AAPL","feed":"replay","source":"a","received_at":{T0},'
        f'"c":{c},"d":{d},"dp":null,"h":null,"l":null,"o":null,"pc":null,"t":{T0 // 1000}}}'
    )
    try:
        dataset, rows, _ = stocks_rows(record(None, value=body.encode()), "replay")
    except MessageRejectedError as error:
        assert error.rejection.reason == "range"
        return
    assert build(dataset, rows, PLACE).skipped_rows == 0
