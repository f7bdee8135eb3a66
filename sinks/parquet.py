"""An object of the lake as bytes: which rows go together, their table, its Parquet file.

All of it is a pure function of the rows, so that an object written again is the same object.
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
"""Where in a row its `_offset` stands."""
OBJECT_SPAN = 10_000
"""An object holds rows of one span of this many offsets; spans begin at its multiples."""

_UNFIT = (pa.ArrowException, OverflowError, TypeError, ValueError)


class SourcePartition(NamedTuple):
    """Where the rows of an object lay in Kafka."""

    topic_id: str
    incarnation: str
    partition: int


def cuts(rows: list[Row], fence: int, span: int = OBJECT_SPAN) -> Iterator[list[Row]]:
    """`rows` of a partition, in order of offset, divided into those of one object each.

    A reader goes through a partition by listing what comes after the newest object it knows, and
    must find rows that it does not have yet. A batch that is repeated with other bounds keeps that
    promise because no object spans a multiple of `span`, nor the offset `fence`.

    :param fence: the largest first offset among the objects there already; 0 when there are none.
    """
    for _, group in groupby(rows, lambda row: (row[OFFSET] // span, row[OFFSET] >= fence)):
        yield list(group)


class Built(NamedTuple):
    """A table, its rows, and how many rows it could not take."""

    table: pa.Table
    rows: list[Row]
    unfit: int


def build(dataset: str, rows: list[Row], source: SourcePartition) -> Built:
    """The table of those of `rows` whose values fit their columns, which nearly always all do."""
    try:
        return Built(_table(dataset, rows, source), rows, 0)
    except _UNFIT:
        fit = [row for row in rows if _fits(dataset, row, source)]
        return Built(_table(dataset, fit, source), fit, len(rows) - len(fit))


def _fits(dataset: str, row: Row, source: SourcePartition) -> bool:
    try:
        _table(dataset, [row], source)
    except _UNFIT:
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
    """`table` as a Parquet file: the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, version="2.6", compression="zstd", compression_level=3)
    return bytes(sink.getvalue().to_pybytes())
