"""Read trade files: validate rows and restore the order of arrival.

File order is the order of arrival. If the file has `seq`, it gives the order of arrival within a
symbol, and the rows of a symbol are sorted by it within that symbol's positions. Nothing is ever
sorted by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.exact import EXACT, LIMIT, rounded
from app.feeds.replay.trade_file_batches import TradeFileError, read_batches
from app.market.sessions import END_MS, FIRST_MS
from app.market.symbols import is_symbol

BAD_ROWS_NAMED = 20
"""How many invalid rows are kept with their reason; all are counted."""
_MAX_CODES_LENGTH = 1_000
_NEAR_LIMIT = float(LIMIT) * 0.999

Ints = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]


class FileTrade(NamedTuple):
    """A row: a trade in Finnhub's fields, price and size rounded half-even to 12 decimals."""

    symbol: str
    t: int
    p: Decimal
    v: Decimal
    c: list[str] | None


class BadRow(NamedTuple):
    """An invalid row."""

    row: int | None
    reason: str


class RowSpan(NamedTuple):
    """The number of rows of a symbol, and their first and last time."""

    rows: int
    first_t: int
    last_t: int


class _Rows(NamedTuple):
    """Valid rows as columns; equal values share an object."""

    symbol: Objects
    t: Ints
    p: Objects
    v: Objects
    c: Objects
    seq: Ints | None

    def take(self, indices: Ints) -> _Rows:
        return _Rows._make(None if column is None else column[indices] for column in self)


class TradeFile:
    """A validated trade file; iterate over it for its trades in order of arrival.

    Files whose rows are already in order of arrival are streamed. One whose `seq` requires sorting
    is held in memory as columns (about 50 bytes per row) while it is read.

    :ivar spans: rows, first and last t of each symbol, in order of appearance.
    :ivar bad_count: the number of invalid rows, which are left out.
    :ivar bad_rows: the first of them, with the reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spans: dict[str, RowSpan] = {}
        self.bad_count = 0
        self.bad_rows: list[BadRow] = []
        self._in_order = True
        last_seq: dict[str, int] = {}
        for rows in _read(path, self._note_bad):
            for symbol, own in _by_symbol(rows.symbol):
                self._note_span(symbol, rows.t[own])
                if rows.seq is not None:
                    self._in_order &= _continues(last_seq, symbol, rows.seq[own])
        if not self.spans:
            why = f": {self.bad_rows[0].reason}" if self.bad_rows else ""
            raise TradeFileError(f"{path} holds no trade{why}. Nothing was read from it.")

    @property
    def rows(self) -> int:
        """The number of trades in the file."""
        return sum(span.rows for span in self.spans.values())

    def __iter__(self) -> Iterator[FileTrade]:
        if self._in_order:
            for rows in _read(self.path, _ignore):
                yield from _trades(rows)
        else:
            rows = _joined(_read(self.path, _ignore))
            yield from _trades(rows.take(_arrival(rows)))

    def interleaved(self) -> Iterator[FileTrade]:
        """Yield the trades of all symbols merged by time, each symbol's in order of arrival.

        For playing back in time a file whose symbols may follow one another. Holds the file in
        memory as columns.
        """
        rows = _joined(_read(self.path, _ignore))
        rows = rows.take(_arrival(rows))
        clock = np.empty_like(rows.t)
        for _, own in _by_symbol(rows.symbol):
            clock[own] = np.maximum.accumulate(rows.t[own])
        yield from _trades(rows.take(np.argsort(clock, kind="stable")))

    def _note_bad(self, bad: BadRow) -> None:
        self.bad_count += 1
        if len(self.bad_rows) < BAD_ROWS_NAMED:
            self.bad_rows.append(bad)

    def _note_span(self, symbol: str, t: Ints) -> None:
        first, last = int(t.min()), int(t.max())
        if old := self.spans.get(symbol):
            self.spans[symbol] = RowSpan(
                old.rows + len(t), min(old.first_t, first), max(old.last_t, last)
            )
        else:
            self.spans[symbol] = RowSpan(len(t), first, last)


def read_trades(path: Path) -> TradeFile:
    """Validate `path` and describe it; its trades are read when they are iterated over.

    :param path: Parquet or CSV with the columns symbol, t (UNIX ms), p, v and optionally seq (order
        of arrival within a symbol) and c (condition codes: a list, or text with commas).
    :raises TradeFileError: the file is missing, is not a trade file, or holds no trade.
    """
    return TradeFile(path)


def _read(path: Path, bad: Any) -> Iterator[_Rows]:
    first_row = 1
    skipped: list[BadRow] = []

    def bad_line(number: int | None, text: str) -> None:
        skipped.append(BadRow(number, f"the line has too few or too many values: {text[:80]!r}"))

    for batch in read_batches(path, bad_line):
        for row in skipped:
            bad(row)
        skipped.clear()
        yield _valid_rows(batch, first_row, bad)
        first_row += batch.num_rows
    for row in skipped:
        bad(row)


def _valid_rows(batch: pa.RecordBatch, first_row: int, bad: Any) -> _Rows:
    names = batch.schema.names
    symbol, symbol_ok = _parse_column(batch.column("symbol"), _symbol)
    p, p_ok = _parse_column(batch.column("p"), _price)
    v, v_ok = _parse_column(batch.column("v"), _size)
    if "c" in names:
        c, c_ok = _parse_column(batch.column("c"), _codes)
    else:
        c, c_ok = np.full(batch.num_rows, None), np.ones(batch.num_rows, dtype=bool)
    t = batch.column("t").fill_null(-1).to_numpy(zero_copy_only=False)
    t_ok = (t >= FIRST_MS) & (t < END_MS)
    seq, seq_ok = None, np.ones(batch.num_rows, dtype=bool)
    if "seq" in names:
        seq_ok = batch.column("seq").is_valid().to_numpy(zero_copy_only=False)
        seq = batch.column("seq").fill_null(0).to_numpy(zero_copy_only=False)
    numbers_ok = p_ok & v_ok
    numbers_ok[numbers_ok] = _products_in_range(p[numbers_ok], v[numbers_ok])
    checks = (
        (symbol_ok, "symbol", "is not a symbol (capital letters, digits and .:/_- )"),
        (t_ok, "t", "is not UNIX milliseconds within 1990 to 2050"),
        (p_ok, "p", "is not a price above 0 with at most 16 digits before the point"),
        (v_ok, "v", "is not a size of at least 0 with at most 16 digits before the point"),
        (numbers_ok, "p", "times v has more than 16 digits before the point"),
        (c_ok, "c", "is not a list of condition codes"),
        (seq_ok, "seq", "is not an integer"),
    )
    ok = np.logical_and.reduce([passed for passed, _, _ in checks])
    for index in np.flatnonzero(~ok).tolist():
        name, what = next((name, what) for passed, name, what in checks if not passed[index])
        value = str(batch.column(name)[index].as_py())[:80]
        bad(BadRow(first_row + index, f"row {first_row + index}: {name} {value!r} {what}"))
    rows = _Rows(symbol, t, p, v, c, seq)
    return rows if ok.all() else rows.take(np.flatnonzero(ok))


def _parse_column(column: Any, parse: Any) -> tuple[Objects, npt.NDArray[np.bool_]]:
    """Apply `parse` to each distinct value; it raises ValueError for an invalid one."""
    coded = column.dictionary_encode(null_encoding="encode")
    values: Iterable[Any] = coded.dictionary.to_pylist()
    if column.type in (pa.float16(), pa.float32()):
        # the shortest text of this float; as a double it would gain digits
        values = [None if x is None else str(x) for x in coded.dictionary.to_numpy(False)]
    objects = np.empty(len(coded.dictionary), dtype=object)
    good = np.ones(len(coded.dictionary), dtype=bool)
    for index, value in enumerate(values):
        try:
            objects[index] = parse(value)
        except (ValueError, InvalidOperation):
            good[index] = False
    codes = coded.indices.to_numpy(zero_copy_only=False)
    return objects[codes], good[codes]


def _symbol(value: str | None) -> str:
    if value is None or not is_symbol(value):
        raise ValueError("no symbol")
    return value


def _price(value: Any) -> Decimal:
    number = _number(value)
    if number <= 0:
        raise ValueError("not above 0")
    return number


def _size(value: Any) -> Decimal:
    number = _number(value)
    if number < 0:
        raise ValueError("below 0")
    return number


def _number(value: Any) -> Decimal:
    if value is None:
        raise ValueError("missing")
    number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    if not (number.is_finite() and -LIMIT < number < LIMIT):
        raise ValueError("out of range")
    number = rounded(number)
    if not -LIMIT < number < LIMIT:
        raise ValueError("out of range")
    return number


def _codes(value: str | None) -> list[str] | None:
    """Return the codes in `12,41`, `["12", "41"]` or `[12 41]`."""
    if value is None:
        return None
    if len(value) > _MAX_CODES_LENGTH:
        raise ValueError("too long")
    return value.translate(_CODE_MARKS).split() or None


_CODE_MARKS = str.maketrans(dict.fromkeys("[](){},;'\"", " "))


def _products_in_range(p: Objects, v: Objects) -> npt.NDArray[np.bool_]:
    product = p.astype(np.float64) * v.astype(np.float64)
    fits: npt.NDArray[np.bool_] = product < _NEAR_LIMIT
    for index in np.flatnonzero(~fits).tolist():
        fits[index] = EXACT.multiply(p[index], v[index]) < LIMIT
    return fits


def _ignore(_: BadRow) -> None:
    """Ignore invalid rows, which were reported when the file was opened."""


def _by_symbol(symbol: Objects) -> Iterator[tuple[str, Ints]]:
    """Yield each symbol with the indices of its rows, in order of appearance."""
    codes: dict[str, int] = {}
    coded = np.fromiter((codes.setdefault(s, len(codes)) for s in symbol), np.int64, len(symbol))
    order = np.argsort(coded, kind="stable")
    starts = np.searchsorted(coded[order], np.arange(len(codes) + 1))
    for name, start, end in zip(codes, starts, starts[1:], strict=False):
        yield name, order[start:end]


def _continues(last_seq: dict[str, int], symbol: str, seq: Ints) -> bool:
    before = last_seq.get(symbol, int(seq[0]))
    last_seq[symbol] = int(seq[-1])
    return bool(before <= seq[0] and (seq[1:] >= seq[:-1]).all())


def _arrival(rows: _Rows) -> Ints:
    """Return, for each position in `rows`, the index of the row that arrived there."""
    arrival = np.arange(len(rows.t))
    if rows.seq is not None:
        for _, own in _by_symbol(rows.symbol):
            arrival[own] = own[np.argsort(rows.seq[own], kind="stable")]
    return arrival


def _joined(parts: Iterable[_Rows]) -> _Rows:
    columns = zip(*parts, strict=True)
    return _Rows._make(None if column[0] is None else np.concatenate(column) for column in columns)


def _trades(rows: _Rows) -> Iterator[FileTrade]:
    for start in range(0, len(rows.t), 65_536):
        part = rows.take(np.arange(start, min(start + 65_536, len(rows.t))))
        columns = zip(part.symbol, part.t.tolist(), part.p, part.v, part.c, strict=True)
        yield from map(FileTrade._make, columns)
