"""Read a trade file as batches of its own columns, under this project's column names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from app.feeds.replay.trade_files.csv_lines import (
    fields_of,
    first_line,
    read_lines,
    text_of,
)
from app.feeds.replay.trade_files.layout import layout_of
from app.feeds.replay.trade_files.opening import OpenedFile, opened
from app.feeds.replay.trade_files.options import HINT, ReadOptions, TradeFileError

BATCH_ROWS = 65_536
Column = Any
"""An Arrow array. Its type is checked at run time, so a type parameter would not help."""
pc: Any = pa.compute


class Batch(NamedTuple):
    """Rows of a file.

    :ivar columns: by this project's names: symbol, t, p, v, c, seq and tape, with values as in the
        file; `keep:` or `id:` and a number for columns that select rows or identify trades.
    :ivar numbers: the number of each row: its line in CSV, its position from 1 in Parquet.
    """

    columns: dict[str, Column]
    numbers: npt.NDArray[np.int64]


BadLine = Callable[[int, str], None]


class TradeBatches:
    """The batches of a file, in order. Its layout is known before the first one.

    :raises TradeFileError: the file is missing, is neither Parquet nor CSV, or lacks a column.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        with opened(path) as content:
            self.parquet = content.parquet
            self.row_word = "row" if content.parquet else "line"
            if content.parquet:
                with self._arrow_errors(), pq.ParquetFile(content.stream) as file:
                    names = file.schema_arrow.names
                self.layout = layout_of(path, names, content.names, options, text=False)
            else:
                line, _ = first_line(text_of(content.stream))  # type: ignore[arg-type]
                if b"\0" in line:
                    raise TradeFileError(f"{path} is neither a Parquet nor a CSV file. {HINT}")
                fields, _ = fields_of(line)
                self.layout = layout_of(path, fields, content.names, options, text=True)

    def read(self, bad_line: BadLine) -> Iterator[Batch]:
        """Yield all rows; `bad_line` receives each line of CSV with too few or too many values."""
        with opened(self._path) as content, self._arrow_errors():
            yield from (self._parquet(content) if content.parquet else self._csv(content, bad_line))

    def _parquet(self, content: OpenedFile) -> Iterator[Batch]:
        number = 1
        with pq.ParquetFile(content.stream) as file:
            needed = self.layout.needed
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=needed):
                columns = {name: _decoded(batch.column(name)) for name in batch.schema.names}
                yield self._batch(columns, np.arange(number, number + batch.num_rows))
                number += batch.num_rows

    def _csv(self, content: OpenedFile, bad_line: BadLine) -> Iterator[Batch]:
        text = text_of(content.stream)  # type: ignore[arg-type]
        line, number = first_line(text)
        _, delimiter = fields_of(line)
        header, layout = self.layout.header, self.layout
        for lines in read_lines(
            text,
            b"" if header else line,
            number + header,
            list(layout.names),
            layout.needed,
            delimiter,
            bad_line,
        ):
            at = 0
            for part in lines.columns.combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
                columns = {name: part.column(name) for name in part.schema.names}
                yield self._batch(columns, lines.numbers[at : at + part.num_rows])
                at += part.num_rows

    def _batch(self, columns: dict[str, Column], numbers: npt.NDArray[np.int64]) -> Batch:
        ours: dict[str, Column] = {}
        for name, theirs in self.layout.columns.items():
            if name == "id":
                ours |= {f"id:{index}": columns[column] for index, column in enumerate(theirs)}
            else:
                ours[name] = columns[theirs[0]]
        ours |= {f"keep:{column}": columns[column] for column in self.layout.keep}
        return Batch(ours, numbers)

    def _arrow_errors(self) -> _ArrowErrors:
        return _ArrowErrors(self._path, "Parquet" if self.parquet else "CSV")


class _ArrowErrors:
    """Converts Arrow's errors inside of the block to sentences."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, pa.ArrowException):
            raise TradeFileError(
                f"{self._path} is not a sound {self._kind} file: {error}. {HINT}"
            ) from None


def _decoded(column: Column) -> Column:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
