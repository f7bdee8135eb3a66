"""The recorded day of gold has the published bars on DuckDB and on the stand-in for Snowflake, and
the audit of its trades makes the same candles there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.topics import ensure_topics
from app.warehouse.audit import audit
from app.warehouse.commands import build, load
from tests.drills.warehouses import DrillWarehouse, OnDuckDB, OnSnowflake
from tests.published import gold_bars, matches
from tests.replay_to_gold import AS_PUBLISHED, GOLD_TRADES, gold_candles, load_all, replay
from tests.snowflake_local.process import LocalSnowflake
from tests.support import running

pytestmark = pytest.mark.drill

OF_THE_LOAD = ("loaded_at", "load_lag_s", "load_lag_max_s")
"""Columns of gold that depend on when a warehouse was loaded."""


def test_both_warehouses_have_the_published_bars_and_the_same_gold(
    make_settings: Callable[..., Settings], tmp_path: Path, gold_data: Path, utc: None
) -> None:
    settings, log = make_settings(**AS_PUBLISHED), tmp_path / "log"
    ensure_topics(settings)
    with running(settings, "candles", log=log), running(settings, "archive", log=log):
        replay(settings, gold_data / "gold_futures_trades.parquet", log)
        load_all(settings)
    with LocalSnowflake(tmp_path / "snowflake") as server:
        warehouses = OnDuckDB(settings), OnSnowflake(server, settings)
        for warehouse in warehouses:
            load(warehouse.settings)
            build(warehouse.settings)
            bars = gold_candles(warehouse.settings)
            assert matches(gold_bars(gold_data), bars) == 1490
            trades = "select count(*) from SILVER.SILVER_TRADES where not is_duplicate"
            assert warehouse.query(trades) == [(GOLD_TRADES,)]
            report = audit(warehouse.settings)
            assert report.differences == []
            assert report.compared >= 1490
        assert_same_gold(*warehouses)


def assert_same_gold(on_duckdb: OnDuckDB, on_snowflake: OnSnowflake) -> None:
    """Compare every table of gold, row by row."""
    counts, differing = {}, {}
    for table, columns in gold_columns(on_duckdb).items():
        expected, found = (rows(each, table, columns) for each in (on_duckdb, on_snowflake))
        counts[table] = len(expected)
        if expected != found:
            pairs = zip(expected, found, strict=False)
            differing[table] = (
                *(len(expected), len(found)),
                next((pair for pair in pairs if pair[0] != pair[1]), None),
            )

    assert differing == {}
    assert counts["gold_candlestick"] >= 1490
    assert sum(count > 0 for count in counts.values()) > 8


def gold_columns(on_duckdb: OnDuckDB) -> dict[str, list[str]]:
    """The tables and views of gold with the columns that both warehouses must agree on."""
    return dict(
        on_duckdb.query(
            "select table_name, list(column_name order by column_index) from duckdb_columns() "
            f"where lower(schema_name) = 'gold' and column_name not in {OF_THE_LOAD} group by 1"
        )
    )


def rows(warehouse: DrillWarehouse, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    names = ", ".join(columns)
    return warehouse.query(f"select {names} from GOLD.{table} order by {names}")
