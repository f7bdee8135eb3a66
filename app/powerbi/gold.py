"""Gold as the report reads it, from the file that the last build published.

That file holds the tables which the live page reads. Three views are the report's own, one of them
over `gold_candles`; here they are made from the SQL of their dbt models, whose only macro is `ref`,
and from the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from app.powerbi.model import MODEL
from app.warehouse.published import TABLES
from app.warehouse.sql import text_literal
from app.warehouse.transform import PROJECT

SEEDS = ("symbols", "symbol_classes")
"""Those that gold_symbols reads; dbt builds them in another schema."""
OWN_VIEWS = ("gold_candles", *(table.view for table in MODEL.tables if table.view not in TABLES))
"""The report's own views, each after those that it reads."""
_JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined)


@contextmanager
def published_gold(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose schema `gold` has every view of the report over the file at `path`."""
    with duckdb.connect() as connection:
        connection.execute(f"attach {text_literal(str(path))} as published (read_only)")
        connection.execute("create schema gold")
        for table in TABLES:
            connection.execute(f"create view gold.{table} as from published.gold.{table}")
        create_views(connection)
        yield connection


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the report's own views in schema `gold`, over its tables and the project's seeds."""
    for seed in SEEDS:
        path = PROJECT / "seeds" / f"{seed}.csv"
        connection.read_csv(str(path), all_varchar=True).create(f"gold.{seed}")
    for view in OWN_VIEWS:
        connection.execute(f"create view gold.{view} as {view_sql(view)}")


def view_sql(view: str) -> str:
    """The SELECT of a gold model that refers to other gold models and `SEEDS` only."""
    sql = (PROJECT / "models" / "gold" / f"{view}.sql").read_text(encoding="utf-8")
    return _JINJA.from_string(sql).render(ref=lambda model: f"gold.{model}")


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by column name."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        cursor.close()
