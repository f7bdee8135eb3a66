"""Rebuild silver from RAW in passes of some session dates each: a kill loses one pass at most.

A pass is a `dbt build` of silver's tables and their data tests on the rows of its dates; the first
one replaces the tables. All that silver computes is of one session date, or reads earlier ones, so
passes in the order of dates give the result of a build in one go. BUILD_LEDGER has a row of status
`rebuilding` for the start, with the newest load at that time, and for each pass that is done. The
next build continues after the last one, and merges rows of later loads at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.warehouse.interface import Build

ROWS_PER_PASS = 5_000_000
"""Rows of RAW that a pass may have, unless a single date has more: what fits 2 GB of memory."""
REBUILDING = "rebuilding"
START = "start"


class Pass(NamedTuple):
    """Session dates that are built together, both ends included."""

    first: str
    last: str
    rows: int

    def dates(self, *, is_first: bool) -> str:
        """The value of REBUILD_DATES, for the macro `rebuilt_dates`."""
        return f"{self.first} {self.last} {'first' if is_first else 'later'}"


class Unfinished(NamedTuple):
    """A rebuild that has begun: the newest load by then, and the last date that is done, if any."""

    load_id: int
    project: str
    last: str | None


def unfinished(builds: Sequence[Build]) -> Unfinished | None:
    """The rebuild that `builds` leave unfinished.

    :param builds: rows of the ledger after the last successful build, oldest first.
    """
    found = None
    for build in builds:
        if build.status == REBUILDING:
            last = None if build.detail == START else build.detail
            found = Unfinished(build.load_id, build.project, last)
    return found


def passes(
    dates: Iterable[tuple[str, int]], after: str | None, rows: int = ROWS_PER_PASS
) -> list[Pass]:
    """Group session dates into passes of up to `rows` rows, in order.

    :param dates: session dates of RAW with their number of rows.
    :param after: the last date that is done already.
    """
    found = list[Pass]()
    for date, count in sorted(dates):
        if after is not None and date <= after:
            continue
        if found and found[-1].rows + count <= rows:
            found[-1] = Pass(found[-1].first, date, found[-1].rows + count)
        else:
            found.append(Pass(date, date, count))
    return found
