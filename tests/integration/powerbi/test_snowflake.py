"""The report's queries on the gold that dbt-snowflake built on the local stand-in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
import sqlglot

from app.powerbi.gold import rows_of
from app.powerbi.layout import ReportPage, Visual
from app.powerbi.queries import answer, chosen
from app.settings import Settings
from tests.integration.powerbi.test_queries import each_visual
from tests.snowflake_local.dbt import SnowflakeTwin
from tests.snowflake_local.process import LocalSnowflake


@pytest.fixture(scope="module")
def twin(
    local_snowflake: LocalSnowflake, market: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SnowflakeTwin]:
    made = SnowflakeTwin(
        local_snowflake, market.warehouse_path, tmp_path_factory.mktemp("report_twin")
    )
    made.load()
    made.build()
    yield made
    made.close()


@each_visual
def test_every_query_has_the_answer_of_duckdb(
    market: Settings, twin: SnowflakeTwin, page: ReportPage, visual: Visual
) -> None:
    with duckdb.connect(str(market.warehouse_path), read_only=True) as warehouse:
        expected = answer(page, visual, chosen("NVDA"), lambda sql: rows_of(warehouse, sql)).rows

    found = answer(page, visual, chosen("NVDA"), lambda sql: on_snowflake(twin, sql)).rows

    assert expected
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    assert [
        (name, found_row[name], value)
        for found_row, expected_row in zip(found, expected, strict=True)
        for name, value in expected_row.items()
        if not same(found_row[name], value)
    ] == []


def same(found: Any, expected: Any) -> bool:
    """Compare values; floats but for the rounding of a sum in another order."""
    if isinstance(expected, float) and found is not None:
        return math.isclose(found, expected, rel_tol=1e-12)
    return bool(found == expected)


def on_snowflake(twin: SnowflakeTwin, sql: str) -> list[dict[str, Any]]:
    """The rows of a query in Snowflake's dialect, by column names in lower case."""
    (translated,) = sqlglot.transpile(sql, read="duckdb", write="snowflake")
    return [{name.lower(): value for name, value in row.items()} for row in twin.rows(translated)]
