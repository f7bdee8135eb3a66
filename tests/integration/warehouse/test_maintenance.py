"""Compaction and retention, with a real S3 server and DuckDB; no dbt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from app.lake import DATASETS, ROW_IDENTITY, ObjectKey, s3_client
from app.settings import Settings
from app.warehouse import rebuild
from app.warehouse.commands import build, load, opened
from app.warehouse.hourly import hour_key, read_hour
from app.warehouse.interface import Build
from app.warehouse.maintenance import compact_lake
from app.warehouse.retention import (
    RawExpired,
    expire_bronze,
    expire_raw,
    loaded_objects,
    require_complete_raw,
)
from tests.integration.warehouse.conftest import rows_of
from tests.integration.warehouse.lake_writer import (
    START,
    STOCKS_INCARNATION,
    LakeWriter,
    quote,
    trade,
)

MakeSettings = Callable[..., Settings]
HOUR = START.replace(minute=0)
NEXT = HOUR + timedelta(hours=1)
NOW = datetime(2024, 3, 6, 3, 40, tzinfo=UTC)
DOCUMENTED = Path(__file__).parents[3] / "docs" / "lake.md"


def written(settings: Settings) -> LakeWriter:
    """Trades of two hours, one message archived twice, and quotes."""
    lake = LakeWriter(settings)
    lake.put("trades", [trade("MSFT", 1, "10"), trade("AAPL", 2, "10"), trade("AAPL", 1, "9")])
    lake.put("trades", [trade("AAPL", 1, "9"), trade("AAPL", 1800, "11")], first_offset=2)
    lake.put("quotes", [quote("AAPL", 5, "10", "8")])
    load(settings)
    return lake


def identities(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[name] for name in ROW_IDENTITY) for row in rows)


def sources(settings: Settings) -> dict[str, str]:
    """The keys under hourly/ with their ETags."""
    listed = s3_client(settings).list_objects_v2(
        Bucket=settings.lake_bucket, Prefix=f"{settings.lake_prefix}hourly/"
    )
    prefix = settings.lake_prefix
    return {o["Key"].removeprefix(prefix): o["ETag"] for o in listed.get("Contents", [])}


def test_an_hour_has_each_row_once_and_is_the_same_from_bronze(
    lake_settings: MakeSettings,
) -> None:
    settings = lake_settings()
    written(settings)
    from_bronze = {hour: read_hour(settings, "trades", hour) for hour in (HOUR, NEXT)}

    report = compact_lake(settings, NOW)

    assert (report.written, report.unchanged, report.rows) == (3, 0, 5)
    assert set(sources(settings)) == {
        hour_key("trades", HOUR),
        hour_key("trades", NEXT),
        hour_key("quotes", HOUR),
    }
    for hour, rows in from_bronze.items():
        compacted = read_hour(settings, "trades", hour)
        assert compacted.schema.equals(DATASETS["trades"])
        assert identities(compacted.to_pylist()) == identities(rows.to_pylist())
    first = read_hour(settings, "trades", HOUR).to_pylist()
    assert [(row["symbol"], row["_offset"]) for row in first] == [
        ("AAPL", 2),
        ("AAPL", 1),
        ("MSFT", 0),
    ]


def test_an_hour_is_made_anew_when_its_sources_differ(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = written(settings)
    compact_lake(settings, NOW)
    before = sources(settings)
    assert compact_lake(settings, NOW).written == 0

    lake.put("trades", [trade("AAPL", 3, "12")], first_offset=9)
    load(settings)
    assert compact_lake(settings, NOW).written == 1

    after = sources(settings)
    assert [key for key in after if after[key] != before[key]] == [hour_key("trades", HOUR)]
    assert read_hour(settings, "trades", HOUR).num_rows == 4


def test_an_object_that_changed_after_it_was_loaded_is_reported(
    lake_settings: MakeSettings,
) -> None:
    settings = lake_settings()
    lake = written(settings)
    rows = [trade("AAPL", 1, "8"), trade("AAPL", 1800, "11")]
    key = str(lake.put("trades", rows, first_offset=2))

    report = compact_lake(settings, NOW)

    assert (report.written, report.unchanged, report.incomplete) == (1, 0, 2)
    assert report.changed == (key,)
    assert "2 hours were not compacted, as 1 of their objects have changed" in report.sentence()
    assert f"no longer exist: {key}. RAW" in report.sentence()


def test_only_hours_that_have_ended_and_of_the_day_asked_for(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    written(settings)

    assert compact_lake(settings, HOUR + timedelta(hours=1, minutes=59)).written == 0
    assert compact_lake(settings, NOW, NOW.date()).written == 0
    assert compact_lake(settings, NOW, HOUR.date()).written == 3


def built_up_to(settings: Settings, load_id: int) -> None:
    with opened(settings, "test") as warehouse:
        now = datetime.now(UTC)
        warehouse.record_build(Build(load_id, now, now, "built", "", ""))


def test_raw_keeps_what_is_new_or_not_built_and_an_hour_keeps_what_raw_lost(
    lake_settings: MakeSettings,
) -> None:
    settings = lake_settings()
    lake = written(settings)
    compact_lake(settings, NOW)
    built_up_to(settings, 1)
    lake.put("trades", [trade("AAPL", 4, "12")], first_offset=9)
    load(settings)
    later = datetime.now(UTC) + timedelta(days=8)

    with opened(settings, "test") as warehouse:
        require_complete_raw(warehouse, settings)
        assert expire_raw(warehouse, settings, later - timedelta(days=2)) == 0
        now = datetime.now(UTC)
        warehouse.record_build(Build(1, now, now, rebuild.REBUILDING, "", rebuild.START))
        assert expire_raw(warehouse, settings, later) == 0  # the rebuild has yet to read these rows
        warehouse.record_build(Build(1, now, datetime.now(UTC), "built", "", ""))
        assert expire_raw(warehouse, settings, later) == 1
        with pytest.raises(RawExpired, match=r"the trades of 2 objects .* in DUCKDB_PATH, then"):
            require_complete_raw(warehouse, settings)

    (row,) = rows_of(str(settings.warehouse_path), "select count(*) as n from raw.trades")
    assert row["n"] == 1
    assert load(settings).objects == 0
    with pytest.raises(RawExpired):
        build(settings, full_refresh=True)
    assert compact_lake(settings, NOW).written == 1
    assert read_hour(settings, "trades", HOUR).num_rows == 4


def test_bronze_loses_only_what_is_loaded_and_compacted(lake_settings: MakeSettings) -> None:
    settings = lake_settings(retention_bronze_days=30)
    lake = written(settings)
    bad = ObjectKey("trades", STOCKS_INCARNATION, 0, 50, 50)
    lake.put_bytes(bad, b"")
    load(settings)
    later = datetime.now(UTC) + timedelta(days=31)

    def expire() -> int:
        with opened(settings, "test") as warehouse:
            loaded = loaded_objects(warehouse, settings, later)
        return expire_bronze(settings, loaded)

    assert expire() == 0
    compact_lake(settings, NOW, HOUR.date())
    assert expire() == 3
    assert read_hour(settings, "trades", HOUR).num_rows == 3
    assert load(settings).objects == 0
    assert expire() == 0


def downloaded(settings: Settings, folder: Path) -> Path:
    """The namespace's part of the bucket as files."""
    client = s3_client(settings)
    listed = client.list_objects_v2(Bucket=settings.lake_bucket, Prefix=settings.lake_prefix)
    for found in listed["Contents"]:
        path = folder / found["Key"].removeprefix(settings.lake_prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(settings.lake_bucket, found["Key"], str(path))
    return folder


def documented(language: str) -> str:
    """The first block of `language` in the documentation."""
    return DOCUMENTED.read_text().partition(f"```{language}\n")[2].partition("```")[0]


def test_documented_queries_read_hours_and_else_bronze(
    lake_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = lake_settings()
    lake = written(settings)
    compact_lake(settings, NOW)
    lake.put("trades", [trade("AAPL", 9000, "12"), trade("AAPL", 9001, "12")], first_offset=9)
    lake.put("trades", [trade("AAPL", 9001, "12")], first_offset=10)
    folder = downloaded(settings, tmp_path)

    in_sql = duckdb.sql(documented("sql").replace("s3://tickhouse", str(folder)))
    names: dict[str, Any] = {"pl": pl}
    exec(documented("python").replace("s3://tickhouse", str(folder)), names)

    expected = [0, 1, 2, 3, 9, 10]
    assert sorted(row["_offset"] for row in in_sql.to_arrow_table().to_pylist()) == expected
    assert sorted(names["trades"].collect()["_offset"].to_list()) == expected
