"""A database of the stand-in for Snowflake, set up for one test."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from snowflake.connector import errors

from app.settings import Settings
from app.warehouse import snowflake_setup
from app.warehouse.snowflake import SnowflakeWarehouse
from tests.integration.warehouse.lake_writer import LakeWriter
from tests.snowflake_local.process import LocalSnowflake

_databases = itertools.count(1)


def lose_answers_of_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit happens, and the connection breaks before its answer arrives."""
    commit = SnowflakeWarehouse._commit

    def lose_the_answer(self: SnowflakeWarehouse, *arguments: Any) -> None:
        commit(self, *arguments)
        raise errors.OperationalError(msg="connection reset", errno=250001)

    monkeypatch.setattr(SnowflakeWarehouse, "_commit", lose_the_answer)


class OnSnowflake:
    """Settings with a database of their own, set up, and what was sent since.

    :param more: settings of the warehouse.
    """

    def __init__(self, server: LocalSnowflake, settings: Settings, **more: Any) -> None:
        self.server = server
        self.settings = server.as_warehouse(
            settings, snowflake_database=f"STOCKS_{next(_databases)}", **more
        )
        self.lake = LakeWriter(self.settings)
        self.before = len(server.statements())
        """the number of the last statement before the set-up"""
        snowflake_setup.init(self.settings, dry_run=False)
        self.first = len(server.statements())

    def rows(self, query: str) -> list[Any]:
        database = self.settings.snowflake_database
        with self.server.connect(database=database, schema="RAW") as connection:
            return connection.cursor().execute(query).fetchall()

    def sent(self) -> list[dict[str, Any]]:
        """The statements of the pipeline's user since the set-up, and their roles."""
        return [s for s in self.server.statements(self.first) if s["user"] == "TICKHOUSE"]
