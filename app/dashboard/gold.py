"""Read gold from the file of the last build, and reopen it when a newer one is published."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from app.contracts import Interval
from app.dashboard.summary import GoldRow, unix_ms
from app.errors import TickhouseError
from app.market.sessions import END_MS
from app.settings import Settings
from app.warehouse.published import current_path

log = logging.getLogger("tickhouse.dashboard")

TABLES = ("kpi", "treechart", "gauge", "candlestick")
BY_SYMBOL = ("kpi", "treechart", "gauge")


FileIdentity = tuple[str, int, int]


class GoldNotBuilt(TickhouseError):
    """No gold can be read yet; the message gives the reason."""


class Gold:
    """One published file: tables with one row per symbol in memory, candles read on demand."""

    def __init__(self, path: Path) -> None:
        self.file = identity(path)
        self.built_at_ms = self.file[1] // 1_000_000
        self._connection = duckdb.connect(str(path), read_only=True)
        try:
            self.tables = {
                table: self._rows(f"select * from gold.gold_{table}") for table in BY_SYMBOL
            }
            self.quarantined = self._rows("select * from gold.gold_quarantine")
            """Rows of the archive that break a rule and are in no other table, newest first."""
        except BaseException:
            self._connection.close()
            raise
        self._by_symbol: dict[str, dict[str, Any]] = {}
        for table in reversed(BY_SYMBOL):
            for row in self.tables[table]:
                self._by_symbol.setdefault(row["symbol"], {}).update(row)

    def symbols(self) -> list[str]:
        """The symbols that have a price, sorted."""
        return sorted(row["symbol"] for row in self.tables["kpi"])

    def row(self, symbol: str) -> GoldRow | None:
        """The columns of kpi, treechart and gauge for `symbol` in one row; kpi takes precedence."""
        return self._by_symbol.get(symbol)

    def candles(
        self, symbol: str, limit: int, interval: Interval = "1m", before_ms: int | None = None
    ) -> list[dict[str, Any]]:
        """The last `limit` candles of `symbol`, oldest first.

        :param before_ms: only candles that start before, UNIX ms.
        """
        suffix = "" if interval == "1m" else f"_{interval}"
        until = datetime.fromtimestamp((before_ms or END_MS) / 1000, UTC).replace(tzinfo=None)
        newest_first = self._rows(
            f"select * from gold.gold_candlestick{suffix} where symbol = ? and candle_time < ? "
            "order by candle_time desc limit ?",
            [symbol, until, limit],
        )
        return newest_first[::-1]

    def _rows(self, query: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(query, parameters or [])
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()


class GoldReader:
    """Keeps the newest published gold open.

    `refresh` is called periodically from one thread; `gold` and `problem` may be read from any.
    """

    def __init__(
        self, settings: Settings, find: Callable[[Settings], Path | None] = current_path
    ) -> None:
        self._settings = settings
        self._find = find
        self.gold: Gold | None = None
        self.problem: str | None = None
        """Why the newest gold cannot be read; None when it can, or before the first build."""

    def refresh(self) -> bool:
        """Open the published file if it changed; return whether it did."""
        try:
            path = self._find(self._settings)
            if path is None:
                return self._replace(None)
            if self.gold and identity(path) == self.gold.file:
                return False
            return self._replace(Gold(path))
        except Exception as error:  # whatever a file holds: the next one may be readable
            self._set_problem(
                f"Gold cannot be read: {(str(error) or repr(error)).splitlines()[0]}."
            )
            return False

    def _replace(self, gold: Gold | None) -> bool:
        """Make `gold` current; requests may still read the previous one, so it stays open."""
        changed = gold is not self.gold
        self.gold, self.problem = gold, None
        return changed

    def _set_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem

    def require(self) -> Gold:
        """Return the open gold.

        :raises GoldNotBuilt: none is open.
        """
        if self.gold:
            return self.gold
        if self.problem:
            raise GoldNotBuilt(self.problem)
        raise GoldNotBuilt(
            "Gold has not been built yet: it appears after the first load and dbt build "
            "(Airflow runs them each minute, `tickhouse load` once)."
        )


def identity(path: Path) -> FileIdentity:
    """Identify a published file, even when its name is reused."""
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_ino


def as_json(row: GoldRow) -> dict[str, Any]:
    """Convert a row of gold: times to UNIX ms, dates and the exchange's local time to ISO text."""
    plain = {name: _plain(value) for name, value in row.items()}
    if (local := row.get("exchange_time")) is not None:
        plain["exchange_time"] = local.isoformat()
    return plain


def _plain(value: Any) -> Any:
    moment = unix_ms(value)
    if moment is not None:
        return moment
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
