"""Build the Parquet objects of the lake: group rows into objects, build tables, serialize them.

All functions are pure functions of the rows, so an object that is written again is identical.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from app.lake import DATASETS
from sinks.rows import OBJECT_COLUMNS, ROW_COLUMNS, Row

OFFSET = -3
"""Index of `_offset` in a row."""
OBJECT_SPAN = 10_000
"""Offsets per object at most. Objects do not cross multiples of this number."""

_MISFIT_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class SourcePartition(NamedTuple):
    """The partition, of one incarnation of a topic, that the rows of an object come from."""

    topic_id: str
    incarnation: str
    partition: int


def split_into_objects(
    rows: list[Row], last_object_offset: int, span: int = OBJECT_SPAN
) -> Iterator[list[Row]]:
    """Group the rows of a partition, in order of offset, into the rows of one object each.

    Readers list the keys after the newest object they know, and must find there all rows that they
    do not have yet. This also holds when a batch is repeated with other bounds, because no object
    crosses a multiple of `span` or the offset `last_object_offset`.

    :param last_object_offset: the largest first offset of the existing objects; 0 if there are
        none.
    """
    for _, group in groupby(
        rows, lambda row: (row[OFFSET] // span, row[OFFSET] >= last_object_offset)
    ):
        yield list(group)


class BuiltTable(NamedTuple):
    """A table, its rows, and the number of rows left out because they do not fit its schema."""

    table: pa.Table
    rows: list[Row]
    skipped_rows: int


def build(dataset: str, rows: list[Row], source: SourcePartition) -> BuiltTable:
    """Build the table of `rows`, leaving out rows whose values do not fit their columns."""
    try:
        return BuiltTable(_table(dataset, rows, source), rows, 0)
    except _MISFIT_ERRORS:
        fit = [row for row in rows if _fits(dataset, row, source)]
        return BuiltTable(_table(dataset, fit, source), fit, len(rows) - len(fit))


def _fits(dataset: str, row: Row, source: SourcePartition) -> bool:
    try:
        _table(dataset, [row], source)
    except _MISFIT_ERRORS:
        return False
    return True


def _table(dataset: str, rows: list[Row], source: SourcePartition) -> pa.Table:
    names = ROW_COLUMNS[dataset]
    columns = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    constant = dict(zip(OBJECT_COLUMNS, source, strict=True))
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.repeat(pa.scalar(constant[field.name], field.type), len(rows))
        for field in DATASETS[dataset]
    ]
    return pa.Table.from_arrays(arrays, schema=DATASETS[dataset])


def parquet(table: pa.Table) -> bytes:
    """Serialize `table` as a Parquet file. The same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, version="2.6", compression="zstd", compression_level=3)
    return bytes(sink.getvalue().to_pybytes())
