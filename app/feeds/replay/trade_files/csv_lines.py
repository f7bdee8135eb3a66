"""Read CSV as batches of text columns, each row with the number of its line in the file.

Arrow parses blocks of complete lines. A block with a blank or malformed line is parsed line by
line, so that line numbers are correct and a stray quote damages one line only. Therefore a value
must not extend over several lines.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import IO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

BLOCK_BYTES = 4 << 20
_LONGEST_LINE = 1 << 20
_DELIMITERS = ",;\t|"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ESCAPED = re.compile("[\udc80-\udcff]")

BadLine = Callable[[int, str], None]
"""Receives the number and text of a line with too few or too many values."""


class Lines(NamedTuple):
    """Parsed lines: columns of text, and the line number of each row."""

    columns: pa.Table
    numbers: npt.NDArray[np.int64]


def text_of(stream: io.BufferedReader) -> IO[bytes]:
    """Return `stream` as UTF-8 without a byte order mark; UTF-16 is recognized by its mark."""
    head = stream.peek(4)[:4]
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            stream.read(len(mark))
            return stream if encoding == "utf-8" else io.BufferedReader(_Recoded(stream, encoding))
    return stream


def fields_of(line: bytes) -> tuple[list[str], str]:
    """Return the values of a file's first line, stripped, and the delimiter between them."""
    text = _decoded(line).strip("\r\n")
    delimiter = max(_DELIMITERS, key=text.count)
    values = next(csv.reader([text], delimiter=delimiter), [])
    return [value.strip() for value in values], delimiter


def first_line(stream: IO[bytes]) -> tuple[bytes, int]:
    """Read the first line that is not blank; return it with its number."""
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if line.strip():
            return line, number
    return b"", max(number, 1)


def read_lines(
    stream: IO[bytes],
    start: bytes,
    first_number: int,
    names: list[str],
    wanted: list[str],
    delimiter: str,
    bad_line: BadLine,
) -> Iterator[Lines]:
    """Yield the columns `wanted` of `start` and of the rest of `stream`.

    :param first_number: the number of the first line in `start` or, if that is empty, in `stream`.
    :param names: the names of all columns, each once.
    """
    number = first_number
    rest = start
    while block := stream.read(BLOCK_BYTES):
        content = rest + block
        cut = content.rfind(b"\n") + 1
        lines, rest = content[:cut], content[cut:]
        if lines:
            count = lines.count(b"\n")
            yield _parsed(lines, count, number, names, wanted, delimiter, bad_line)
            number += count
    if rest:
        count = rest.count(b"\n") + (not rest.endswith(b"\n"))
        yield _parsed(rest, count, number, names, wanted, delimiter, bad_line)


def _parsed(
    block: bytes,
    count: int,
    number: int,
    names: list[str],
    wanted: list[str],
    delimiter: str,
    bad_line: BadLine,
) -> Lines:
    def skip(_: object) -> Literal["skip"]:
        return "skip"

    try:
        table = pa.csv.read_csv(
            io.BytesIO(block),
            read_options=pa.csv.ReadOptions(column_names=names, block_size=2 * BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid:  # not UTF-8, or only blank lines
        table = None
    if table is not None and table.num_rows == count:
        return Lines(table, np.arange(number, number + count))
    return _line_by_line(block, number, names, wanted, delimiter, bad_line)


def _line_by_line(
    block: bytes,
    number: int,
    names: list[str],
    wanted: list[str],
    delimiter: str,
    bad_line: BadLine,
) -> Lines:
    positions = [names.index(name) for name in wanted]
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    for number_of_line, line in enumerate(_decoded(block).split("\n"), start=number):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        values = (
            next(csv.reader([line], delimiter=delimiter), [])
            if '"' in line
            else line.split(delimiter)
        )
        if len(values) != len(names):
            bad_line(number_of_line, line)
            continue
        rows.append([values[position] or None for position in positions])
        numbers.append(number_of_line)
    columns = zip(*rows, strict=True) if rows else ([] for _ in wanted)
    return Lines(
        pa.table(
            {
                name: pa.array(list(column), pa.string())
                for name, column in zip(wanted, columns, strict=True)
            }
        ),
        np.array(numbers, dtype=np.int64),
    )


def _decoded(content: bytes) -> str:
    """Decode UTF-8; invalid bytes become the Latin-1 characters that they probably are."""
    text = content.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda found: chr(ord(found[0]) - 0xDC00), text)


class _Recoded(io.RawIOBase):
    """A stream of another encoding, converted to UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._ready:
            content = self._stream.read(BLOCK_BYTES)
            self._ready = self._decoder.decode(content, final=not content).encode()
            if not content:
                break
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count
