from __future__ import annotations

import io
from decimal import Decimal
from itertools import pairwise

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lake import ObjectKey
from sinks.parquet import OFFSET, SourcePartition, build, parquet, split_into_objects
from sinks.rows import Row, stocks_rows
from tests.unit.sinks.records import record, trade, trades

PLACE = SourcePartition("id", "incarnation", 0)
SPAN = 7
TOPIC = [
    row
    for offset in range(60)
    if offset % 5 != 2  # other kinds of messages lie between the trades
    for row in stocks_rows(
        record(trades(*[trade(v=Decimal(offset), i=i) for i in range(1 + offset % 3)]), offset),
        "replay",
    ).rows
]


def objects(rows: list[Row], last_object_offset: int) -> dict[str, bytes]:
    found = {}
    for chunk in split_into_objects(rows, last_object_offset, SPAN):
        key = ObjectKey("trades", "incarnation", 0, chunk[0][OFFSET], chunk[-1][OFFSET])
        found[str(key)] = parquet(build("trades", chunk, PLACE).table)
    return found


def part(first: int, end: int) -> list[Row]:
    return [row for row in TOPIC if first <= row[OFFSET] < end]


def test_the_same_rows_give_the_same_bytes() -> None:
    once, again = objects(TOPIC, 0), objects(list(TOPIC), 0)
    assert once == again
    (first, *_) = once.values()
    assert pq.read_metadata(io.BytesIO(first)).row_group(0).column(0).compression == "ZSTD"


def test_a_message_is_never_divided_and_no_row_lost() -> None:
    chunks = list(split_into_objects(TOPIC, 20, SPAN))
    assert [row for chunk in chunks for row in chunk] == TOPIC
    positions = [{row[OFFSET] for row in chunk} for chunk in chunks]
    assert sum(map(len, positions)) == len(set().union(*positions))


ends = st.lists(st.integers(0, 60), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(ends, st.integers(0, 60), st.booleans())
def test_an_object_is_a_function_of_its_key_whatever_the_batches(
    cut_at: list[int], last_object_offset: int, bounded: bool
) -> None:
    bounds = sorted({0, 60, *cut_at})
    for first, end in pairwise(bounds):
        for name, body in objects(part(first, end), last_object_offset if bounded else 0).items():
            key = ObjectKey.parse(name)
            assert key is not None
            rows = part(key.first_offset, key.last_offset + 1)
            assert body == parquet(build("trades", rows, PLACE).table)


fates = st.sampled_from(["commit", "crash", "late crash", "clear"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 16), fates), max_size=12))
def test_a_reader_who_lists_behind_its_newest_object_misses_nothing(
    batches: list[tuple[int, str]],
) -> None:
    """Whatever becomes of a batch: committed; written, not committed, and seen by the worker that
    repeats it, or landing only after that one listed; or all committed offsets are forgotten."""
    lake: dict[str, list[Row]] = {}
    seen: set[int] = set()
    newest, position, last_object_offset = "", 0, 0
    for size, fate in [*batches, (60, "commit")]:
        for chunk in split_into_objects(part(position, position + size), last_object_offset, SPAN):
            key = ObjectKey("trades", "incarnation", 0, chunk[0][OFFSET], chunk[-1][OFFSET])
            lake[str(key)] = chunk
            for name in sorted(name for name in lake if name > newest):
                seen.update(row[OFFSET] for row in lake[name])
                newest = name
        if fate == "commit":
            position += size
        elif fate == "clear":
            position = 0
        if fate in ("crash", "clear"):
            keys = [ObjectKey.parse(name) for name in lake]
            last_object_offset = max((key.first_offset for key in keys if key), default=0)
    assert seen == {row[OFFSET] for chunk in lake.values() for row in chunk}
    assert {row[OFFSET] for row in part(0, position)} <= seen
