"""Reduce the rows of dataset coverage to those with new information: a pure function.

A source reports the coverage of the current minute each second, and each report replaces the
previous one. In the rows of one flush only the last report of a minute counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from sinks.rows import MINUTE_MS, ROW_COLUMNS, Row

_COLUMNS = ROW_COLUMNS["coverage"]
_SYMBOL, _SOURCE = _COLUMNS.index("symbol"), _COLUMNS.index("source")
_WATERMARK, _MINUTE = _COLUMNS.index("watermark"), _COLUMNS.index("minute_start")
_COVERED_MS = _COLUMNS.index("covered_ms")


def latest_reports(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that determine a minute's coverage and watermark, in the given order.

    For each symbol, source and minute, these are the last report with `covered_ms` (or the last
    one, if none has it) and the first one with the largest watermark. Silver derives the same
    coverage and watermark from them as from all rows.

    :param rows: the rows of one partition, in order of offset.
    """
    given = list(rows)
    reports: dict[tuple[str, str, int], int] = {}
    furthest: dict[tuple[str, str, int], int] = {}
    for number, row in enumerate(given):
        minute = row[_MINUTE]
        if minute is None:
            minute = row[_WATERMARK] // MINUTE_MS * MINUTE_MS
        of = (row[_SYMBOL], row[_SOURCE], minute)
        known = reports.get(of)
        if known is None or row[_COVERED_MS] is not None or given[known][_COVERED_MS] is None:
            reports[of] = number
        if of not in furthest or row[_WATERMARK] > given[furthest[of]][_WATERMARK]:
            furthest[of] = number
    return [given[number] for number in sorted({*reports.values(), *furthest.values()})]
