"""The warehouses that drills run on: what differs between DuckDB and Snowflake."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, ClassVar, Protocol

import duckdb
import pytest
from snowflake.connector.errors import ProgrammingError

from app.errors import TickhouseError
from app.settings import Settings
from app.warehouse import snowflake_connection, snowflake_setup
from app.warehouse.interface import WarehouseError
from app.warehouse.published import current_path
from app.warehouse.snowflake_connection import SnowflakeUnavailable
from tests.drills.steps import Step
from tests.snowflake_local.process import LocalSnowflake

DOES_NOT_EXIST = 2003
BEFORE_COMMIT, AFTER_COMMIT = Step("before", "commit"), Step("after", "commit")


class DrillWarehouse(Protocol):
    settings: Settings
    steps: dict[str, Step]
    """the steps of a load, each by what is done when it is reached"""
    downloads: bool
    """whether a load fetches the objects from the lake"""
    unavailable: tuple[type[TickhouseError], str]
    """what a load raises while the warehouse is away, and a part of the message"""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query that both warehouses understand."""

    def candles_in_gold(self) -> int:
        """The number of one-minute candles that readers of gold see; 0 before the first build."""

    def away(self) -> Any:
        """Context manager: no other process can open the warehouse."""

    def save(self) -> None:
        """Copy the warehouse, as a backup does."""

    def restore(self) -> None:
        """Bring back what `save` copied."""


class OnDuckDB:
    """A DuckDB file, which is away while another process has it open."""

    downloads = True
    steps: ClassVar = {
        "listed": Step("before", "GetObject"),
        "downloaded": Step("before", "insert into RAW.TRADES"),
        "inserted": Step("after", "insert into RAW.TRADES"),
        "before commit": BEFORE_COMMIT,
        "after commit": AFTER_COMMIT,
    }
    unavailable = (WarehouseError, "cannot be opened")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._path = settings.warehouse_path
        self._copy = self._path.with_suffix(".copy")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self._path), read_only=True) as db:
            return db.execute(sql).fetchall()

    def candles_in_gold(self) -> int:
        path = current_path(self.settings)
        if path is None:
            return 0
        with duckdb.connect(str(path), read_only=True) as db:
            return len(db.execute("select candle_time from gold.gold_candlestick").fetchall())

    @contextmanager
    def away(self) -> Iterator[None]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_hold_open, str(self._path)).result()
            yield

    def save(self) -> None:
        shutil.copy(self._path, self._copy)

    def restore(self) -> None:
        self._copy.replace(self._path)


_held: list[duckdb.DuckDBPyConnection] = []


def _hold_open(path: str) -> None:
    _held.append(duckdb.connect(path))


class OnSnowflake:
    """A database of a stand-in of its own, which is away after a SIGKILL."""

    downloads = True
    steps: ClassVar = {
        "listed": Step("before", "GetObject"),
        "downloaded": Step("before", "put"),
        "put": Step("after", "put"),
        "copied": Step("after", "copy into"),
        "before commit": BEFORE_COMMIT,
        "after commit": AFTER_COMMIT,
    }
    unavailable = (SnowflakeUnavailable, "Try again")

    def __init__(self, server: LocalSnowflake, settings: Settings, **more: Any) -> None:
        self.settings = server.as_warehouse(settings, **more)
        self._server = server
        self._data = server.folder / "data"
        snowflake_setup.init(self.settings, dry_run=False)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self._server.connect(database=self.settings.warehouse_database) as connection:
            return connection.cursor().execute(sql).fetchall()

    def candles_in_gold(self) -> int:
        try:
            return len(self.query("select candle_time from GOLD.GOLD_CANDLESTICK"))
        except ProgrammingError as error:
            if error.errno != DOES_NOT_EXIST:
                raise
            return 0

    @contextmanager
    def away(self) -> Iterator[None]:
        self._server.kill()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snowflake_connection, "LOGIN_TIMEOUT_S", 1)
            yield
        self._server.start()

    def restart(self) -> None:
        """Kill it and start it again: its sessions and their transactions are gone."""
        self._server.kill()
        self._server.start()

    def save(self) -> None:
        self._server.stop()
        shutil.copytree(self._data, self._data.with_name("copy"))
        self._server.start()

    def restore(self) -> None:
        self._server.stop()
        shutil.rmtree(self._data)
        self._data.with_name("copy").rename(self._data)
        self._server.start()


class OnLake(OnSnowflake):
    """The same, with an external stage: the stand-in reads the lake itself."""

    downloads = False
    steps: ClassVar = {
        "listed": Step("before", "begin"),
        "copied": Step("after", "copy into"),
        "counted": Step("before", "insert into"),
        "before commit": BEFORE_COMMIT,
        "after commit": AFTER_COMMIT,
    }

    def __init__(self, server: LocalSnowflake, settings: Settings) -> None:
        arn = "arn:aws:iam::123456789012:role/lake"
        super().__init__(
            server, settings, snowflake_stage="external", snowflake_storage_role_arn=arn
        )
