"""Read trade files as batches of Arrow columns: Parquet or CSV, validated by column.

Batches have one schema whatever the file: `symbol` text, `t` and `seq` integers (null where the
file has none), `p` and `v` numbers or text, `c` text. `app.feeds.replay.trade_file` decides whether
a row is a trade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from app.errors import TickhouseError

REQUIRED = ("symbol", "t", "p", "v")
OPTIONAL = ("seq", "c")
BATCH_ROWS = 65_536

Column = Any
"""An Arrow array; types are checked at run time here, so a type parameter would not help."""
pc: Any = pa.compute

_INTEGER_TEXT = r"^\s*[+-]?[0-9]{1,18}\s*$"
_FIRST_TOO_LARGE = pa.scalar(2**63, pa.uint64())
_HINT = "Trade files have the columns symbol, t (UNIX ms), p, v and optionally seq, c."

BadLine = Callable[[int | None, str], None]
"""Receives the number and text of a CSV line that has too few or too many values."""


class TradeFileError(TickhouseError):
    """A trade file cannot be read."""


def read_batches(path: Path, bad_line: BadLine) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `path` in file order, a bounded number of rows at a time.

    :raises TradeFileError: the file is missing, is neither Parquet nor CSV, or lacks a column.
    """
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
    except OSError as error:
        raise TradeFileError(
            f"{path} cannot be read: {error.strerror}. Name an existing file of trades."
        ) from None
    if not parquet and path.suffix == ".parquet":
        raise TradeFileError(f"{path} is not a Parquet file. {_HINT}")
    batches = _parquet_batches(path) if parquet else _csv_batches(path, bad_line)
    try:
        for batch in batches:
            yield _canonical(path, batch)
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if parquet else "CSV"
        raise TradeFileError(f"{path} is not a sound {kind} file: {error}. {_HINT}") from None


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        columns = _columns(path, file.schema_arrow.names)
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def _csv_batches(path: Path, bad_line: BadLine) -> Iterator[pa.RecordBatch]:
    """Read every column as text, so that prices keep their digits and a bad value affects one row
    only.
    """

    def skip(row: Any) -> Literal["skip"]:
        bad_line(row.number, row.text)
        return "skip"

    with path.open("rb") as head:
        first = head.readline(1_000_000)
    names = _csv_names(path, first)
    columns = _columns(path, names)
    with pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(invalid_row_handler=skip),
        convert_options=pa.csv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    ) as reader:
        yield from reader


def _csv_names(path: Path, first_line: bytes) -> list[str]:
    try:
        text = first_line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TradeFileError(f"{path} is neither a Parquet nor a CSV file. {_HINT}") from None
    return [name.strip().strip('"') for name in text.strip().split(",")]


def _columns(path: Path, names: list[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise TradeFileError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(names[:20]) or 'none'}. "
            f"{_HINT}"
        )
    twice = [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]
    if twice:
        raise TradeFileError(f"{path} has the column {twice[0]} twice; keep one of them.")
    return [*REQUIRED, *(name for name in OPTIONAL if name in names)]


def _canonical(path: Path, batch: pa.RecordBatch) -> pa.RecordBatch:
    columns: dict[str, Column] = {}
    for name in batch.schema.names:
        column: Column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        columns[name] = _CONVERT[name](path, name, column)
    return pa.RecordBatch.from_pydict(columns)


def _text(path: Path, name: str, column: Column) -> Column:
    if _is_text(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    raise _wrong_type(path, name, column, "text")


def _complete(path: Path, name: str, column: Column) -> Column:
    """Convert to int64; null where a value is not an integer."""
    if pa.types.is_integer(column.type):
        if column.type == pa.uint64():
            column = pc.if_else(pc.less(column, _FIRST_TOO_LARGE), column, None)
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        complete = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        return pc.if_else(complete, column, None).cast(pa.int64())
    if _is_text(column.type):
        digits = pc.match_substring_regex(column, _INTEGER_TEXT)
        return pc.utf8_trim_whitespace(pc.if_else(digits, column, None)).cast(pa.int64())
    if pa.types.is_null(column.type):
        return column.cast(pa.int64())
    raise _wrong_type(
        path, name, column, "UNIX milliseconds as integers" if name == "t" else "integers"
    )


def _number(path: Path, name: str, column: Column) -> Column:
    kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or _is_text(kind)
    ):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    raise _wrong_type(path, name, column, "numbers")


def _codes(path: Path, name: str, column: Column) -> Column:
    """Convert condition codes to text, separated by commas."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        texts = column.cast(pa.list_(pa.string()))
        return pc.binary_join(texts, ",")
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    return _text(path, name, column)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _wrong_type(path: Path, name: str, column: Column, wanted: str) -> TradeFileError:
    return TradeFileError(
        f"{path} holds {column.type} in the column {name}; it must hold {wanted}."
    )


_CONVERT: dict[str, Callable[[Path, str, Column], Column]] = {
    "symbol": _text,
    "t": _complete,
    "p": _number,
    "v": _number,
    "seq": _complete,
    "c": _codes,
}
