"""`tickhouse load --rebuild`, killed in the middle, ends with the tables of a build in one go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from app.embedded.environment import child_environment
from app.embedded.s3 import S3Server
from app.settings import Settings
from app.warehouse.commands import build, load
from tests.integration.warehouse.conftest import Rows, first_load, rising, rows_of, second_load
from tests.integration.warehouse.lake_writer import START, LakeWriter, candle, quote, trade
from tests.support import settings_on

pytestmark = pytest.mark.drill

DAYS = 4
BY_DAYS = """
import logging, sys
from app.settings import load_settings
from app.warehouse.commands import build
logging.basicConfig(level=logging.INFO)
build(load_settings(), rebuild=True, rows_per_pass=1)
"""


def tables(settings: Settings) -> dict[str, Rows]:
    """All rows of silver and gold, sorted."""
    path = str(settings.warehouse_path)
    names = rows_of(
        path,
        "select table_schema || '.' || table_name as name from information_schema.tables "
        "where table_schema in ('silver', 'gold') order by 1",
    )
    return {
        row["name"]: rows_of(path, f"select * from {row['name']} order by all") for row in names
    }


def fill(lake: LakeWriter) -> None:
    """Two loads with duplicates, revisions and rejections, and days of candles before them."""
    first_load(lake)
    second_load(lake)
    for days in range(2, 2 + DAYS):
        start = START - timedelta(days=days)
        rows = rising("AAPL", range(25), volume=str(50 * days))
        for row in rows:
            row["window_start"] -= timedelta(days=days)
            row["window_end"] -= timedelta(days=days)
            row["session_date"] = start.date().isoformat()
        lake.put("candles", rows, partition=3)
        lake.put("candles", [candle("MSFT", 0, "10 12 9 11", window_start=start)], partition=3)
        lake.put("trades", [trade("AAPL", 0, "10", trade_time=start)], partition=3)
        moment = {"quote_time": start, "session_date": start.date().isoformat()}
        lake.put("quotes", [quote("AAPL", 0, "10", "8") | moment], partition=3)


def test_killed_rebuild_is_continued_and_equals_a_build_in_one_go(
    s3_server: S3Server, tmp_path: Path
) -> None:
    settings = settings_on(s3_server, tmp_path / "data")
    fill(LakeWriter(settings))
    load(settings)
    assert build(settings).full
    at_once = tables(settings)
    assert len(at_once["silver.silver_candles"]) > 100
    with duckdb.connect(str(settings.warehouse_path)) as db:  # as if it had never been built
        for schema in ("gold", "silver", "bronze"):
            db.execute(f"drop schema {schema} cascade")

    passes = kill_after(settings, passes=2)
    assert passes == 2
    assert tables(settings) != at_once
    report = build(settings)  # as the next minute does

    assert report.built
    assert tables(settings) == at_once
    ledger = rows_of(
        str(settings.warehouse_path),
        "select detail from raw.build_ledger where status = 'rebuilding' order by finished_at",
    )
    dates = [row["detail"] for row in ledger]
    assert dates == ["start", "2024-02-29", "2024-03-01", "2024-03-05"]  # the rest in one pass


def kill_after(settings: Settings, passes: int) -> int:
    """Start a rebuild and kill it with dbt once it has done `passes`; return how many it did."""
    with subprocess.Popen(
        [sys.executable, "-c", BY_DAYS],
        env=child_environment(settings),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        seen = 0
        for line in process.stderr:
            seen += "Rebuilt " in line
            if seen == passes:
                os.killpg(process.pid, signal.SIGKILL)
                break
    return seen
