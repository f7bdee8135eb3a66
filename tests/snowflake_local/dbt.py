"""A warehouse of DuckDB again on the stand-in: its RAW rows, and dbt_stocks built there by dbt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

from app.lake import DATASETS
from app.warehouse.raw import setup_statements, table_of
from app.warehouse.transform import (
    BUILT_LOAD,
    FULL_BUILD,
    MINUTE_BUILD,
    PROJECT,
    DbtResult,
    read_results,
)
from tests.snowflake_local.process import LocalSnowflake

LOADED = (*map(table_of, DATASETS), "RAW.LOAD_LEDGER")
Rows = list[dict[str, Any]]


class SnowflakeTwin:
    """A database of the stand-in that gets the RAW rows of a DuckDB warehouse.

    :param source: the file of that warehouse.
    :param folder: for the files to load, and dbt's artifacts.
    """

    def __init__(self, server: LocalSnowflake, source: Path, folder: Path) -> None:
        self.database = server.new_database()
        self._server, self._source, self._folder = server, source, folder
        self._connection = server.connect(database=self.database)
        self._cursor = self._connection.cursor()
        for statement in setup_statements():
            self._cursor.execute(statement)
        for schema in ("BRONZE", "SILVER", "GOLD"):
            self._cursor.execute(f"create schema if not exists {schema}")
        self._cursor.execute("create stage RAW.LANDING")
        self._loaded = 0

    def close(self) -> None:
        self._connection.close()

    def load(self) -> None:
        """Load the rows of the loads that are not here yet."""
        with duckdb.connect(self._source, read_only=True) as db:
            ((newest,),) = db.execute("select max(load_id) from RAW.LOAD_LEDGER").fetchall()
            for table in LOADED:
                self._copy(db, table, newest)
        self._loaded = newest

    def _copy(self, db: duckdb.DuckDBPyConnection, table: str, newest: int) -> None:
        name = table.lower().replace(".", "_") + f"_{newest}.parquet"
        path = self._folder / name
        column = "load_id" if table == "RAW.LOAD_LEDGER" else "_load_id"
        rows = db.table(table).filter(f"{column} > {self._loaded} and {column} <= {newest}")
        self._folder.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(str(path))
        self._cursor.execute(f"put 'file://{path}' @RAW.LANDING auto_compress = false")
        self._cursor.execute(
            f"copy into {table} from @RAW.LANDING files = ('{name}') "
            "file_format = (type = parquet use_logical_type = true) "
            "match_by_column_name = case_insensitive"
        )

    def build(self) -> DbtResult:
        """Run `dbt build` as `tickhouse load --build` does: all models first, then the changes."""
        built_load = self.newest_build()
        result = self.dbt(
            *("build", "--selector", MINUTE_BUILD if built_load else FULL_BUILD),
            built_load=built_load,
        )
        self._cursor.execute(
            "insert into RAW.BUILD_LEDGER select %s, sysdate(), sysdate(), 'built', 'p', ''",
            (self._loaded,),
        )
        return result

    def newest_build(self) -> int:
        (row,) = self.rows("select coalesce(max(load_id), 0) as n from RAW.BUILD_LEDGER")
        return int(row["N"])

    def dbt(self, *arguments: str, built_load: int) -> DbtResult:
        """Run a dbt command with target snowflake; it must succeed."""
        target = self._folder / "dbt"
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-c", "from dbt.cli.main import cli; cli()"),
                *("--quiet", "--no-use-colors", *arguments, "--target", "snowflake"),
            ],
            cwd=PROJECT,
            env=os.environ
            | {
                "LOCAL_SNOWFLAKE_PORT": str(self._server.login["port"]),
                "LOCAL_SNOWFLAKE_DATABASE": self.database,
                "DBT_PROFILES_DIR": str(Path(__file__).parent),
                "DBT_TARGET_PATH": str(target),
                "DBT_LOG_PATH": str(target),
                BUILT_LOAD: str(built_load),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return read_results(json.loads((target / "run_results.json").read_text()))

    def rows(self, sql: str) -> Rows:
        """The rows of a query, by column name."""
        self._cursor.execute(sql)
        names = [column.name for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]
