"""A database of the stand-in for Snowflake, set up for one test."""

from __future__ import annotations

import itertools
from typing import Any

from app.settings import Settings
from app.warehouse import snowflake_setup
from tests.integration.warehouse.lake_writer import LakeWriter
from tests.snowflake_local.process import LocalSnowflake

_databases = itertools.count(1)


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
