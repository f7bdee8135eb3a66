"""Read trade files: validate rows and restore the order of arrival.

File order is the order of arrival. If the file has a column `seq`, the rows of each symbol are
sorted by it, within the positions of that symbol. Nothing is sorted by time unless the user
requests it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.feeds.replay.trade_files.batches import TradeBatches
from app.feeds.replay.trade_files.options import ReadOptions, TradeFileError
from app.feeds.replay.trade_files.rows import BadRow, RowChecker, RowCounts, Rows
from app.feeds.replay.trade_files.trade_ids import TradeIds
from app.market.sessions import Session, session_of
from app.market.symbols import SymbolClass, symbol_class

BAD_ROWS_NAMED = 20
"""How many invalid rows are kept with their reason; all of them are counted."""
_SLOT_MS = 1_800_000
"""Sessions begin and end on the half hour."""
_MINUTE_MS = 60_000
_BATCH_ROWS = 65_536

Ints = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]


class FileTrade(NamedTuple):
    """A row: a trade with Finnhub's fields, price and size rounded half-even to 12 decimals."""

    symbol: str
    t: int
    p: Decimal
    v: Decimal
    c: list[str] | None


class RowSpan(NamedTuple):
    """The number of rows of a symbol, and their first and last time."""

    rows: int
    first_t: int
    last_t: int


class TradeFile:
    """A validated trade file; iterate over it for its trades in order of arrival.

    Files whose rows are already in order of arrival are streamed. A file whose `seq` requires
    sorting, or that is to be sorted by time, is held in memory as columns while it is read (about
    50 bytes per row).

    :ivar spans: rows, first and last t of each symbol, in order of appearance.
    :ivar bad_count: the number of invalid rows, which are left out.
    :ivar bad_rows: the first of them, with the reason.
    :ivar repeated_count: the number of trades left out because their id was read before.
    :ivar counts: what was counted while rows were checked.
    :ivar layout: the format of the file.
    :ivar times_in_words: a description of its times.
    """

    def __init__(
        self, path: Path, options: ReadOptions | None = None, ids: TradeIds | None = None
    ) -> None:
        self.path = path
        self.options = options or ReadOptions()
        self.spans: dict[str, RowSpan] = {}
        self.bad_count = 0
        self.bad_rows: list[BadRow] = []
        self.repeated_count = 0
        self._batches = TradeBatches(path, self.options)
        self.layout = self._batches.layout
        self._in_order = True
        self._order = _TimeOrder()
        self._slots: dict[str, Counter[int]] = {}
        self._repeated: dict[int, Ints] = {}
        self._scan(TradeIds() if ids is None else ids)
        if not self.spans:
            raise TradeFileError(f"{path} holds no trade{self._why()}. Nothing was read from it.")

    @property
    def rows(self) -> int:
        """The number of trades in the file."""
        return sum(span.rows for span in self.spans.values())

    def __iter__(self) -> Iterator[FileTrade]:
        if self.options.sort:
            yield from sorted_trades([self])
        elif self._in_order:
            for rows in self._read(_ignore):
                yield from _trades(rows)
        else:
            yield from _trades(self.arrived())

    def arrived(self) -> Rows:
        """Return all rows in order of arrival, in memory."""
        rows = _joined(self._read(_ignore))
        return rows.take(_arrival(rows))

    def interleaved(self) -> Iterator[FileTrade]:
        """Yield the trades of all symbols merged by time, each symbol's in order of arrival.

        This is for playing back a file in which symbols may follow one another. It holds the file
        in memory as columns.
        """
        if self.options.sort:
            yield from sorted_trades([self])
            return
        rows = self.arrived()
        clock = np.empty_like(rows.t)
        for _, own in _by_symbol(rows.symbol):
            clock[own] = np.maximum.accumulate(rows.t[own])
        yield from _trades(rows.take(np.argsort(clock, kind="stable")))

    @property
    def newest_first(self) -> bool:
        """Whether the times of a symbol mostly decrease from row to row."""
        return self._order.falls > self._order.rises

    def late_count(self, allowed_ms: int) -> int:
        """Return how many trades are late: at least `allowed_ms` after the end of their minute.

        Time is the symbol's newest trade so far. The result is 0 if the trades are to be sorted."""
        return 0 if self.options.sort or not self._in_order else self._order.late(allowed_ms)

    def outside_sessions(self) -> dict[str, int]:
        """Return the number of trades of US stocks outside of New York's sessions, by symbol."""
        outside = {
            symbol: sum(
                count
                for slot, count in slots.items()
                if session_of(symbol, "replay", slot * _SLOT_MS).session is Session.CLOSED
            )
            for symbol, slots in self._slots.items()
        }
        return {symbol: count for symbol, count in outside.items() if count}

    def has_same_trades_as(self, other: TradeFile) -> bool:
        """Return whether both files have the same trades in the same order."""
        return self.spans == other.spans and self._digest() == other._digest()

    def _scan(self, ids: TradeIds) -> None:
        last_seq: dict[str, int] = {}
        checker = self._checker(self._record_bad)
        for index, batch in enumerate(self._batches.read(self._bad_line(self._record_bad))):
            rows = checker.rows(batch)
            repeated = np.zeros(len(rows.t), dtype=bool)
            for symbol, own in _by_symbol(rows.symbol):
                if rows.id is not None:
                    repeated[own] = ids.repeated(symbol, rows.t[own], rows.id[own])
                    own = own[~repeated[own]]
                if len(own):
                    self._record_times(symbol, rows.t[own])
                    if rows.seq is not None:
                        self._in_order &= _continues(last_seq, symbol, rows.seq[own])
            if repeated.any():
                self._repeated[index] = np.flatnonzero(~repeated)
                self.repeated_count += int(repeated.sum())
        self.times_in_words = checker.times.in_words
        self.counts: RowCounts = checker.counts

    def _read(self, bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        checker = self._checker(bad)
        for index, batch in enumerate(self._batches.read(self._bad_line(bad))):
            rows = checker.rows(batch)
            fresh = self._repeated.get(index)
            yield rows if fresh is None else rows.take(fresh)

    def _checker(self, bad: Callable[[BadRow], None]) -> RowChecker:
        return RowChecker(self.path, self.layout, self._batches.row_word, bad)

    @staticmethod
    def _bad_line(bad: Callable[[BadRow], None]) -> Callable[[int, str], None]:
        def report(number: int, text: str) -> None:
            reason = f"line {number}: it has too few or too many values: {text[:80]!r}"
            bad(BadRow(number, reason))

        return report

    def _record_bad(self, bad: BadRow) -> None:
        self.bad_count += 1
        if len(self.bad_rows) < BAD_ROWS_NAMED:
            self.bad_rows.append(bad)

    def _record_times(self, symbol: str, t: Ints) -> None:
        first, last = int(t.min()), int(t.max())
        old = self.spans.get(symbol)
        self._order.record(t, old.last_t if old else 0)
        if symbol_class(symbol) is SymbolClass.US_STOCK:
            slots, counts = np.unique(t // _SLOT_MS, return_counts=True)
            self._slots.setdefault(symbol, Counter()).update(
                dict(zip(slots.tolist(), counts.tolist(), strict=True))
            )
        if old:
            self.spans[symbol] = RowSpan(
                old.rows + len(t), min(old.first_t, first), max(old.last_t, last)
            )
        else:
            self.spans[symbol] = RowSpan(len(t), first, last)

    def _why(self) -> str:
        if self.bad_rows:
            return f": {self.bad_rows[0].reason}"
        if self.repeated_count:
            return f" that was not read before: all {self.repeated_count} ids are known"
        if self.counts.left_out:
            return f": {sum(self.counts.left_out.values())} rows are {min(self.counts.left_out)}"
        return ""

    def _digest(self) -> bytes:
        digest = hashlib.blake2b()
        for rows in self._read(_ignore):
            digest.update(rows.t.tobytes())
            digest.update(repr((rows.p.tolist(), rows.v.tolist())).encode())
        return digest.digest()


class _TimeOrder:
    """How far the trades of a file are from being ordered by time."""

    def __init__(self) -> None:
        self.rises = self.falls = 0
        self._behind: list[Ints] = []

    def record(self, t: Ints, newest_t: int) -> None:
        """Add the next trades of a symbol, whose newest trade so far was at `newest_t`."""
        steps = np.diff(t)
        falls = int((steps < 0).sum())
        self.falls += falls
        self.rises += int((steps > 0).sum())
        if falls or t[0] < newest_t:
            clock = np.maximum(np.maximum.accumulate(t), newest_t)
            behind = clock - (t // _MINUTE_MS + 1) * _MINUTE_MS
            self._behind.append(behind[behind > 0])

    def late(self, allowed_ms: int) -> int:
        """Return the number of trades whose minute had ended at least `allowed_ms` before."""
        return sum(int((behind >= allowed_ms).sum()) for behind in self._behind)


def read_trades(path: Path, options: ReadOptions | None = None) -> TradeFile:
    """Validate `path` and describe it; its trades are read during iteration.

    :param path: Parquet or CSV, compressed or not, in one of the formats of `presets`.
    :raises TradeFileError: the file is missing, is not a trade file, or contains no trades.
    """
    return TradeFile(path, options)


def sorted_trades(files: Sequence[TradeFile]) -> Iterator[FileTrade]:
    """Yield the trades of all `files` by time; trades of equal time in order of arrival.

    It holds the files in memory as columns.
    """
    rows = _joined(file.arrived()._replace(seq=None, id=None) for file in files)
    yield from _trades(rows.take(np.argsort(rows.t, kind="stable")))


def all_trades(files: Sequence[TradeFile]) -> Iterator[FileTrade]:
    """Yield the trades of `files`, one file after the other, or by time if to be sorted."""
    if any(file.options.sort for file in files):
        return sorted_trades(files)
    return chain.from_iterable(files)


def _ignore(_: BadRow) -> None:
    """Ignore invalid rows, which were reported when the file was opened."""


def _by_symbol(symbol: Objects) -> Iterator[tuple[str, Ints]]:
    """Yield each symbol with the indices of its rows, in order of appearance."""
    codes: dict[str, int] = defaultdict(count().__next__)
    coded = np.fromiter(map(codes.__getitem__, symbol.tolist()), np.int64, len(symbol))
    order = np.argsort(coded, kind="stable")
    starts = np.searchsorted(coded[order], np.arange(len(codes) + 1))
    for name, start, end in zip(codes, starts, starts[1:], strict=False):
        yield name, order[start:end]


def _continues(last_seq: dict[str, int], symbol: str, seq: Ints) -> bool:
    before = last_seq.get(symbol, int(seq[0]))
    last_seq[symbol] = int(seq[-1])
    return bool(before <= seq[0] and (seq[1:] >= seq[:-1]).all())


def _arrival(rows: Rows) -> Ints:
    """Return, for each position in `rows`, the index of the row that arrived there."""
    arrival = np.arange(len(rows.t))
    if rows.seq is not None:
        for _, own in _by_symbol(rows.symbol):
            arrival[own] = own[np.argsort(rows.seq[own], kind="stable")]
    return arrival


def _joined(parts: Iterable[Rows]) -> Rows:
    columns = zip(*parts, strict=True)
    return Rows._make(None if column[0] is None else np.concatenate(column) for column in columns)


def _trades(rows: Rows) -> Iterator[FileTrade]:
    for start in range(0, len(rows.t), _BATCH_ROWS):
        part = rows.take(np.arange(start, min(start + _BATCH_ROWS, len(rows.t))))
        columns = zip(part.symbol, part.t.tolist(), part.p, part.v, part.c, strict=True)
        yield from map(FileTrade._make, columns)
