"""Times of trade files as UNIX milliseconds: numbers by their unit, ISO 8601, Arrow timestamps.

A number has the unit in which it lies within 1990 to 2050; seconds, milliseconds, microseconds and
nanoseconds do not overlap there. All times of a file have one unit. Fractions of a millisecond are
cut off, never rounded, so that a trade stays in its minute.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from app.market.sessions import END_MS, FIRST_MS

Ints = npt.NDArray[np.int64]
Column = Any
pc: Any = pa.compute

UNREADABLE = -1
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_IN_WORDS = {
    "s": "UNIX seconds",
    "ms": "UNIX milliseconds",
    "us": "UNIX microseconds",
    "ns": "UNIX nanoseconds",
    "zoned": "ISO 8601 with a zone",
    "timestamp": "timestamps with a zone",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOCAL = ("local", "local timestamp")


class MixedTimesError(ValueError):
    """A file has times of two units; `index` is the position of the second one."""

    def __init__(self, index: int, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.index = index


class TimeReader:
    """Converts the times of one file, column after column.

    :param unit: s, ms, us, ns or iso; None to detect it.
    :param zone: time zone of times without one.
    :param midnight: ISO date; times are milliseconds since its midnight in `zone`.
    :param patterns: formats of `strptime` to try in addition to ISO 8601.
    """

    def __init__(
        self,
        unit: str | None = None,
        zone: str = "UTC",
        midnight: str | None = None,
        patterns: tuple[str, ...] = (),
    ) -> None:
        self._unit = unit
        self._zone = zone
        self._midnight = midnight
        self._patterns = patterns
        self.kind: str | None = None

    @property
    def in_words(self) -> str:
        """Describe the times of the file, as far as it has been read."""
        if self._midnight is not None:
            return f"milliseconds since midnight of {self._midnight} in {self._zone}"
        if self.kind in _LOCAL:
            return f"without a zone, taken as {self._zone}"
        return _IN_WORDS.get(self.kind or "", "unreadable")

    def reads(self, text: str) -> bool:
        """Return whether `text` is a time within 1990 to 2050."""
        return (self._number(text) or self._moment(text)) is not None

    def ms(self, column: Column) -> Ints:
        """Return UNIX milliseconds; `UNREADABLE` for values that are not times in 1990 to 2050.

        :raises MixedTimesError: the file has times of two units.
        :raises TypeError: the type of the column is not a type of times.
        """
        kind = column.type
        if self._midnight is not None:
            return self._since_midnight(column)
        if pa.types.is_timestamp(kind):
            return self._timestamps(column, "timestamp" if kind.tz else "local timestamp")
        if pa.types.is_integer(kind):
            return self._integers(column)
        if pa.types.is_floating(kind):
            return self._floats(column.cast(pa.float64()))
        if pa.types.is_decimal(kind):
            return self._texts(column.cast(pa.string()))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._texts(column.cast(pa.string()))
        if pa.types.is_null(kind):
            return np.full(len(column), UNREADABLE, dtype=np.int64)
        raise TypeError(f"{kind} is no type of times")

    def _integers(self, column: Column) -> Ints:
        if column.type == pa.uint64():
            column = pc.if_else(pc.less(column, pa.scalar(2**63, pa.uint64())), column, None)
        values = column.cast(pa.int64()).fill_null(UNREADABLE).to_numpy(zero_copy_only=False)
        return self._by_unit(values, _ms_of_integers)

    def _floats(self, column: Column) -> Ints:
        values = column.fill_null(float("nan")).to_numpy(zero_copy_only=False)
        return self._by_unit(np.where(np.isfinite(values), values, UNREADABLE), _ms_of_floats)

    def _by_unit(self, values: Any, ms_of: Callable[[Any, int], Ints]) -> Ints:
        ms = np.full(len(values), UNREADABLE, dtype=np.int64)
        for unit, per_second in _PER_SECOND.items():
            if self._unit in _PER_SECOND and unit != self._unit:
                continue
            within = (values >= FIRST_MS // 1000 * per_second) & (
                values < END_MS // 1000 * per_second
            )
            if within.any():
                self._record_kind(unit, int(np.argmax(within)))
                ms[within] = ms_of(values[within], per_second)
        return ms

    def _texts(self, column: Column) -> Ints:
        column = pc.utf8_trim_whitespace(column)
        if self._unit != "iso":
            try:
                return self._integers(column.cast(pa.int64()))
            except pa.ArrowInvalid:
                pass
        if self._unit not in _PER_SECOND:
            for kind, zone in (("zoned", "UTC"), ("local", None)):
                try:
                    return self._timestamps(column.cast(pa.timestamp("ns", zone)), kind)
                except pa.ArrowInvalid:
                    continue
        return self._one_by_one(column.to_pylist())

    def _timestamps(self, column: Column, kind: str) -> Ints:
        if column.null_count < len(column):
            self._record_kind(
                kind, int(np.argmax(column.is_valid().to_numpy(zero_copy_only=False)))
            )
        if kind in _LOCAL and self._zone != "UTC":
            column = pc.assume_timezone(
                column, self._zone, ambiguous="earliest", nonexistent="latest"
            )
        per_second = _PER_SECOND[column.type.unit]
        counted = column.cast(pa.int64())
        values = counted.fill_null(UNREADABLE).to_numpy(zero_copy_only=False)
        ms = _ms_of_integers(values, per_second)
        valid = counted.is_valid().to_numpy(zero_copy_only=False)
        return _in_range(np.where(valid, ms, UNREADABLE))

    def _one_by_one(self, texts: list[str | None]) -> Ints:
        ms = np.full(len(texts), UNREADABLE, dtype=np.int64)
        for index, text in enumerate(texts):
            found = None if not text else self._number(text) or self._moment(text)
            if found is not None:
                self._record_kind(found[0], index)
                ms[index] = found[1]
        return _in_range(ms)

    def _number(self, text: str) -> tuple[str, int] | None:
        if self._unit == "iso":
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None
        if not number.is_finite():
            return None
        for unit, per_second in _PER_SECOND.items():
            ms = number * 1000 / per_second
            if self._unit in (None, unit) and FIRST_MS <= ms < END_MS:
                return unit, int(ms)
        return None

    def _moment(self, text: str) -> tuple[str, int] | None:
        if self._unit in _PER_SECOND:
            return None
        moment = _parsed(text, self._patterns)
        if moment is None:
            return None
        kind = "zoned" if moment.tzinfo else "local"
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(self._zone))
        return kind, (moment - _EPOCH) // _MICROSECOND // 1000

    def _since_midnight(self, column: Column) -> Ints:
        midnight = datetime.fromisoformat(self._midnight or "").replace(tzinfo=UTC)
        start_ms = (midnight - _EPOCH) // _MICROSECOND // 1000
        texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
        readable = pc.match_substring_regex(texts, r"^[0-9]+(\.[0-9]*)?$")
        counted = pc.floor(pc.if_else(readable, texts, None).cast(pa.float64()))
        since = counted.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        wall = pa.array(
            start_ms + since, pa.timestamp("ms"), mask=(since < 0) | (since > 90_000_000)
        )
        return self._timestamps(wall, "local")

    def _record_kind(self, kind: str, index: int) -> None:
        if self.kind is None:
            self.kind = kind
        elif self.kind != kind:
            first, second = (_IN_WORDS.get(name, "without a zone") for name in (self.kind, kind))
            raise MixedTimesError(index, first, second)


def _ms_of_integers(values: Ints, per_second: int) -> Ints:
    return values * (1000 // per_second) if per_second <= 1000 else values // (per_second // 1000)


def _ms_of_floats(values: Any, per_second: int) -> Ints:
    microseconds: Ints = np.rint(values * (1_000_000 / per_second)).astype(np.int64)
    return microseconds // 1000


def _in_range(ms: Ints) -> Ints:
    return np.where((ms >= FIRST_MS) & (ms < END_MS), ms, UNREADABLE)


def _parsed(text: str, patterns: tuple[str, ...]) -> datetime | None:
    for suffix in (" UTC", " GMT"):
        if text.endswith(suffix):
            text = text.removesuffix(suffix) + "+00:00"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for pattern in patterns:
        try:
            return datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone is the caller's
        except ValueError:
            continue
    return None
