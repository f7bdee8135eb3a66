"""Convert batches of a file to trades: check each value, and report bad rows by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from app.exact import EXACT, LIMIT, rounded
from app.feeds.replay.trade_files.batches import Batch
from app.feeds.replay.trade_files.conditions import CONDITION_TABLES, has_unknown
from app.feeds.replay.trade_files.layout import Layout
from app.feeds.replay.trade_files.options import TradeFileError
from app.feeds.replay.trade_files.times import MixedTimesError, TimeReader
from app.market.symbols import is_symbol

_MAX_CODES_LENGTH = 1_000
_NEAR_LIMIT = float(LIMIT) * 0.999
_SHOWN = 80
NO_ID = -1
"""The id of a trade that has none."""

Column = Any
pc: Any = pa.compute
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]
Checked = tuple[Any, Bools, Callable[[int], str]]
"""The values of a column, which of them are valid, and why the others are not."""


class BadRow(NamedTuple):
    """An invalid row."""

    row: int | None
    reason: str


class Rows(NamedTuple):
    """Valid rows as columns; equal values share an object.

    :ivar id: a number that is equal for rows of the same trade, in a file with trade ids.
    """

    symbol: Objects
    t: Ints
    p: Objects
    v: Objects
    c: Objects
    seq: Ints | None
    id: Ints | None

    def take(self, indices: Any) -> Rows:
        """Return the rows at `indices`."""
        return Rows._make(None if column is None else column[indices] for column in self)


@dataclass
class RowCounts:
    """What was counted while rows were checked.

    :ivar rounded: prices and sizes with more than 12 decimals.
    :ivar unknown_codes: trades with a condition code that is not Finnhub's, by codes.
    :ivar left_out: rows that a column marks as not being trades, by column and value.
    """

    rounded: int = 0
    unknown_codes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class RowChecker:
    """Checks the batches of one file, one after the other."""

    def __init__(
        self, path: Path, layout: Layout, row_word: str, bad: Callable[[BadRow], None]
    ) -> None:
        self._path = path
        self._layout = layout
        self._row_word = row_word
        self._bad = bad
        self.times: TimeReader = layout.times()
        self.counts = RowCounts()

    def rows(self, batch: Batch) -> Rows:
        """Return the trades in `batch`; report the other rows.

        :raises TradeFileError: a column has the wrong type, or times are in two units.
        """
        columns, numbers = batch
        size = len(numbers)
        kept = self._kept(columns, size)
        if not kept.all():
            columns = {name: column.filter(pa.array(kept)) for name, column in columns.items()}
            numbers, size = numbers[kept], int(kept.sum())
        checked: dict[str, Checked] = {
            "symbol": self._symbols(columns, size),
            "t": self._times(columns["t"], numbers),
            "p": self._numbers("p", columns["p"]),
            "v": self._numbers("v", columns["v"]),
            "c": self._conditions(columns, size),
            "seq": self._sequence(columns, size),
        }
        p, v = checked["p"], checked["v"]
        fits = p[1] & v[1]
        fits[fits] = _products_in_range(p[0][fits], v[0][fits])
        fits |= ~(p[1] & v[1])
        ok = np.logical_and.reduce([valid for _, valid, _ in checked.values()]) & fits
        for index in np.flatnonzero(~ok).tolist():
            self._name(columns, checked, index, int(numbers[index]))
        values = (checked[name][0] for name in ("symbol", "t", "p", "v", "c", "seq"))
        rows = Rows._make((*values, _ids(columns)))
        return rows if ok.all() else rows.take(np.flatnonzero(ok))

    def _kept(self, columns: dict[str, Column], size: int) -> Bools:
        kept = np.ones(size, dtype=bool)
        for name, values in self._layout.keep.items():
            column = pc.utf8_trim_whitespace(_as_text(columns[f"keep:{name}"])).fill_null("")
            fits = pc.is_in(pc.utf8_lower(column), pa.array([v.lower() for v in values]))
            own = fits.to_numpy(zero_copy_only=False)
            if not own.all():
                for value in column.filter(pa.array(~own)).to_pylist():
                    self.counts.left_out[f"{name}={value}"] += 1
                kept &= own
        return kept

    def _symbols(self, columns: dict[str, Column], size: int) -> Checked:
        venue = self._layout.venue

        def symbol(value: str | None) -> str:
            text = (value or "").strip()
            if venue and ":" not in text:
                text = f"{venue}:{text.upper()}"
            if not is_symbol(text):
                raise ValueError("is not a symbol (capital letters, digits and .:/_- )")
            return text

        if "symbol" not in columns:
            constant = np.full(size, symbol(self._layout.symbol), dtype=object)
            return constant, np.ones(size, dtype=bool), _no_reason
        column = columns["symbol"]
        if not (_is_text(column.type) or pa.types.is_null(column.type)):
            raise self._wrong_type("symbol", column, "text")
        return self._parsed(column, symbol)

    def _times(self, column: Column, numbers: Ints) -> Checked:
        try:
            ms = self.times.ms(column)
        except MixedTimesError as error:
            raise TradeFileError(
                f"{self._path} mixes times: {error}; {self._row_word} {numbers[error.index]} has "
                f"{str(column[error.index].as_py())[:_SHOWN]!r}. A file has times of one kind; "
                "split it."
            ) from None
        except TypeError:
            raise self._wrong_type(
                "t", column, "times: UNIX time in s, ms, us or ns, ISO 8601, or timestamps"
            ) from None
        return ms, ms >= 0, lambda _: f"is not {_wanted(self._layout)} within 1990 to 2050"

    def _numbers(self, name: str, column: Column) -> Checked:
        kind = column.type
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_decimal(kind)
            or pa.types.is_null(kind)
            or _is_text(kind)
        ):
            raise self._wrong_type(name, column, "numbers")
        layout = self._layout
        factor = layout.price_factor if name == "p" else layout.size_factor
        fixed = layout.preset.fixed_point if name == "p" else Decimal(1)
        inexact: set[Any] = set()

        what = "price above 0" if name == "p" else "size of at least 0"

        def number(value: Any) -> Decimal:
            try:
                exact = _scaled(value, factor, fixed)
                result = rounded(exact)
            except (ValueError, InvalidOperation):
                exact = result = Decimal("NaN")
            in_range = result.is_finite() and -LIMIT < result < LIMIT
            if name == "p" and in_range and exact > 0 == result:
                raise ValueError("is not a price above 0: it is 0 when rounded to 12 decimals")
            if not in_range or result < 0 or (name == "p" and result == 0):
                raise ValueError(f"is not a {what} with at most 16 digits before the point")
            if result is not exact and result != exact:
                inexact.add(value)
            return result

        return self._parsed(column, number, inexact)

    def _conditions(self, columns: dict[str, Column], size: int) -> Checked:
        if "c" not in columns or self._layout.conditions == "none":
            return np.full(size, None), np.ones(size, dtype=bool), _no_reason
        column = self._codes(columns["c"])
        convert = CONDITION_TABLES[self._layout.conditions]
        tape = columns.get("tape")
        if tape is not None:
            column = pc.binary_join_element_wise(
                _as_text(tape).fill_null(""), column.fill_null(""), "\t"
            )
        unknown: dict[Any, str] = {}

        def codes(value: str | None) -> list[str] | None:
            if value is None:
                return None
            if len(value) > _MAX_CODES_LENGTH:
                raise ValueError("is not a list of condition codes")
            named, _, text = value.rpartition("\t") if tape is not None else ("", "", value)
            try:
                found = convert(text, named.strip() or None) if text.strip() else []
            except ValueError:
                raise ValueError("is not a list of condition codes") from None
            if has_unknown(found):
                unknown[value] = ",".join(found)
            return found or None

        return self._parsed(column, codes, unknown_codes=unknown)

    def _codes(self, column: Column) -> Column:
        """Convert condition codes to text, separated by commas."""
        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pc.binary_join(column.cast(pa.list_(pa.string())), ",")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return column.cast(pa.int64()).cast(pa.string())
        if _is_text(kind) or pa.types.is_null(kind):
            return column.cast(pa.string())
        raise self._wrong_type("c", column, "condition codes as text or lists")

    def _sequence(self, columns: dict[str, Column], size: int) -> Checked:
        if "seq" not in columns:
            return None, np.ones(size, dtype=bool), _no_reason
        column = columns["seq"]
        if not (pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
            if not (_is_text(column.type) or pa.types.is_floating(column.type)):
                raise self._wrong_type("seq", column, "integers")
            column = _integers(column)
        column = column.cast(pa.int64(), safe=False)
        return (
            column.fill_null(0).to_numpy(zero_copy_only=False),
            column.is_valid().to_numpy(zero_copy_only=False),
            lambda _: "is not an integer",
        )

    def _parsed(
        self,
        column: Column,
        parse: Callable[[Any], Any],
        inexact: set[Any] | None = None,
        unknown_codes: dict[Any, str] | None = None,
    ) -> Checked:
        """Apply `parse` to each distinct value.

        It raises ValueError, with the reason, for an invalid one."""
        coded = column.dictionary_encode(null_encoding="encode")
        values: list[Any] = coded.dictionary.to_pylist()
        if column.type in (pa.float16(), pa.float32()):
            # the shortest text of this float; as a double it would gain digits
            values = [None if x is None else str(x) for x in coded.dictionary.to_numpy(False)]
        objects = np.empty(len(values), dtype=object)
        good = np.ones(len(values), dtype=bool)
        reasons: dict[int, str] = {}
        for index, value in enumerate(values):
            try:
                objects[index] = parse(value)
            except ValueError as error:
                good[index], reasons[index] = False, str(error)
        codes = coded.indices.to_numpy(zero_copy_only=False)
        if inexact or unknown_codes:
            counts = np.bincount(codes, minlength=len(values))
            for index, value in enumerate(values):
                if inexact and good[index] and value in inexact:
                    self.counts.rounded += int(counts[index])
                if unknown_codes and value in unknown_codes:
                    self.counts.unknown_codes[unknown_codes[value]] += int(counts[index])
        return objects[codes], good[codes], lambda row: reasons.get(int(codes[row]), "")

    def _name(
        self, columns: dict[str, Column], checked: dict[str, Checked], index: int, number: int
    ) -> None:
        for name, (_, valid, reason) in checked.items():
            if not valid[index]:
                value = str(columns[name][index].as_py() if name in columns else None)[:_SHOWN]
                self._bad(
                    BadRow(
                        number,
                        f"{self._row_word} {number}: {name} {value!r} {reason(index)}",
                    )
                )
                return
        value = str(columns["p"][index].as_py())[:_SHOWN]
        self._bad(
            BadRow(
                number,
                f"{self._row_word} {number}: p {value!r} times v has more than 16 digits before "
                "the point",
            )
        )

    def _wrong_type(self, name: str, column: Column, wanted: str) -> TradeFileError:
        theirs = self._layout.columns[name][0]
        return TradeFileError(
            f"{self._path} holds {column.type} in the column {theirs}; it must hold {wanted}."
        )


def _no_reason(_: int) -> str:
    return ""


def _wanted(layout: Layout) -> str:
    if layout.midnight:
        return "milliseconds since midnight"
    if layout.unit:
        return {"iso": "a time in ISO 8601"}.get(layout.unit, f"UNIX time in {layout.unit}")
    return "a time (UNIX s, ms, us, ns, or ISO 8601)"


def _scaled(value: Any, factor: Decimal, fixed: Decimal) -> Decimal:
    if value is None:
        raise ValueError("missing")
    text = "" if isinstance(value, Decimal) else str(value).strip()
    number = value if isinstance(value, Decimal) else Decimal(text)
    if fixed != 1 and (isinstance(value, int) or text.lstrip("+-").isdigit()):
        factor = fixed
    if not (number.is_finite() and -LIMIT < number < LIMIT / min(factor, Decimal(1))):
        raise ValueError("out of range")
    return number if factor == 1 else EXACT.multiply(number, factor)


def _products_in_range(p: Objects, v: Objects) -> Bools:
    product = p.astype(np.float64) * v.astype(np.float64)
    fits: Bools = product < _NEAR_LIMIT
    for index in np.flatnonzero(~fits).tolist():
        fits[index] = EXACT.multiply(p[index], v[index]) < LIMIT
    return fits


def _integers(column: Column) -> Column:
    try:
        texts = pc.utf8_trim_whitespace(column) if _is_text(column.type) else column
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:  # a fraction, or not a number
        values = []
    for value in column.to_pylist():
        try:
            number = Decimal(str(value).strip())
            values.append(int(number) if number == int(number) else None)
        except (InvalidOperation, ValueError, OverflowError):
            values.append(None)
    return pa.array([v if v is not None and abs(v) < 2**63 else None for v in values], pa.int64())


def _ids(columns: dict[str, Column]) -> Ints | None:
    """Identify trades by numbers: the id if it is a number, otherwise a hash of the ids."""
    parts = [column for name, column in columns.items() if name.startswith("id:")]
    if not parts:
        return None
    if len(parts) == 1:
        column = parts[0]
        try:
            numbers = column.cast(pa.string()) if _is_text(column.type) else column
            return np.asarray(
                numbers.cast(pa.int64()).fill_null(NO_ID).to_numpy(zero_copy_only=False)
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    texts: Iterable[Any] = zip(*(_as_text(part).to_pylist() for part in parts), strict=True)
    return np.fromiter((_hashed(text) for text in texts), np.int64, len(parts[0]))


def _hashed(parts: tuple[str | None, ...]) -> int:
    stripped = tuple((part or "").strip() for part in parts)
    if not stripped[0]:
        return NO_ID
    if len(stripped) == 1 and stripped[0].isdecimal() and len(stripped[0]) < 19:
        return int(stripped[0])
    return hash(stripped)


def _as_text(column: Column) -> Column:
    return column if _is_text(column.type) else column.cast(pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
