"""Objects in, gold out: on a real S3 server, DuckDB and dbt."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.settings import Settings
from app.warehouse import published
from app.warehouse.commands import build, load, opened
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.published_basis import clear_basis
from app.warehouse.transform import BUILT_LOAD, PROJECT, BuildFailed, folder, run_dbt
from scripts.dbt_docs import write_site
from tests.integration.warehouse.conftest import BTC, Filled, Rows, rows_of
from tests.integration.warehouse.lake_writer import START, LakeWriter, at, candle


def naive(seconds: float) -> object:
    return at(seconds).replace(tzinfo=None)


def candle_at(filled: Filled, minute: int, table: str = "gold_candlestick") -> dict[str, object]:
    (row,) = filled.gold(
        f"select * from gold.{table} where symbol = 'AAPL' and candle_time = '{naive(60 * minute)}'"
    )
    return row


def test_the_first_build_builds_all_models_and_the_second_the_changes(filled: Filled) -> None:
    assert [report.full for report in filled.builds] == [True, False]
    assert filled.builds[1].models == 9
    assert filled.builds[1].tests == 16


def test_published_file_holds_the_promised_tables_and_columns(filled: Filled) -> None:
    found = filled.gold(
        "select table_name as name, list(column_name order by column_index) as columns "
        "from duckdb_columns() where schema_name = 'gold' group by all"
    )

    assert {row["name"]: tuple(row["columns"]) for row in found} == published.TABLES


def test_every_column_is_documented(filled: Filled) -> None:
    columns = filled.warehouse(
        "select table_name || '.' || column_name as name from duckdb_columns() "
        "where schema_name in ('bronze', 'silver', 'gold')"
    )
    texts = {path.stem: path.read_text() for path in PROJECT.rglob("*.yml")}
    missing = [
        row["name"]
        for row in columns
        if f"- name: {row['name'].split('.')[1]}\n" not in texts.get(row["name"].split(".")[0], "")
    ]
    assert len(columns) > 300
    assert missing == []


def test_candle_comes_out_as_it_went_in(filled: Filled) -> None:
    row = candle_at(filled, 4)

    assert row["candle_open"] == 14
    assert row["candle_high"] == 16
    assert row["candle_low"] == 13
    assert row["candle_close"] == 15
    assert row["volume"] == 300
    assert row["traded_value"] == 14.5 * 300
    assert row["vwap"] == 14.5
    assert row["status"] == "final"


def test_highest_revision_of_an_incarnation_wins(filled: Filled) -> None:
    row = candle_at(filled, 5)

    assert (row["revision"], row["candle_high"], row["volume"]) == (1, 99, 400)


def test_between_incarnations_more_trades_win_and_of_equal_counts_the_newer(filled: Filled) -> None:
    assert candle_at(filled, 6)["candle_open"] == 16
    assert candle_at(filled, 7)["candle_open"] == 70
    assert candle_at(filled, 8)["candle_open"] == 80


def test_trend_line_is_the_mean_of_the_sessions_last_20_closes(filled: Filled) -> None:
    closes = [m + 11 for m in range(30)]
    closes[7], closes[8] = 70, 80

    assert candle_at(filled, 0)["trend_line"] == 11
    assert candle_at(filled, 9)["trend_line"] == pytest.approx(sum(closes[:10]) / 10)
    assert candle_at(filled, 29)["trend_line"] == pytest.approx(sum(closes[10:30]) / 20)


def test_object_of_a_lower_partition_that_came_later_is_found(filled: Filled) -> None:
    minutes = filled.gold("select count(*) as n from gold.gold_candlestick where symbol = 'MSFT'")

    assert minutes == [{"n": 6}]


def test_repeated_rows_merge_and_repeats_of_a_trade_are_flagged(filled: Filled) -> None:
    trades = filled.warehouse(
        "select _incarnation like '%17096%' as old, _offset, _index, is_duplicate, is_rejected "
        "from silver.silver_trades where symbol = 'AAPL' order by old desc, _offset, _index"
    )

    assert [tuple(row.values()) for row in trades] == [
        (True, 0, 0, False, False),
        (True, 0, 1, False, False),  # the feed's own repeat is a print of its own
        (True, 1, 0, True, True),  # refused: its twin in the newer incarnation counts
        (True, 2, 0, False, False),
        (True, 2, 1, False, True),
        (False, 0, 0, True, False),
        (False, 1, 0, False, False),
    ]
    raw = filled.warehouse("select count(*) as n from raw.trades where symbol = 'AAPL'")
    assert raw == [{"n": 10}]


def test_rejection_reaches_trades_of_an_earlier_build_and_lets_their_twin_count(
    filled: Filled,
) -> None:
    trades = filled.warehouse(
        "select _offset, is_duplicate, is_rejected, reject_reason from silver.silver_trades "
        "where symbol = 'MSFT' order by _offset"
    )
    (day,) = filled.gold("select * from gold.gold_data_quality where symbol = 'MSFT'")

    assert [tuple(row.values()) for row in trades] == [
        (0, True, True, "late"),
        (1, False, False, None),
    ]
    assert (day["trade_count"], day["duplicate_count"], day["rejected_count"]) == (2, 1, 1)


def test_coverage_of_a_minute_is_the_newest_word_on_it_and_its_watermark_the_largest(
    filled: Filled,
) -> None:
    (row,) = filled.warehouse(
        "select covered_ms, watermark from silver.silver_coverage "
        f"where symbol = 'AAPL' and minute = '{naive(1800)}'"
    )

    assert tuple(row.values()) == (2, naive(1806))


def test_data_quality_counts_duplicates_rejections_and_revisions(filled: Filled) -> None:
    (row,) = filled.gold(
        "select * from gold.gold_data_quality where symbol = 'AAPL' "
        f"and session_date = '{START.date()}'"
    )

    assert row["candle_count"] == 32
    assert row["trade_count"] == 7
    assert row["duplicate_count"] == 2
    assert row["rejected_count"] == 2
    assert row["revision_count"] == 1
    assert row["covered_share"] == 1


def test_rollups_are_the_merge_of_their_minutes(filled: Filled) -> None:
    row = candle_at(filled, 5, "gold_candlestick_5m")

    assert (row["candle_open"], row["candle_close"]) == (15, 20)
    assert (row["candle_high"], row["candle_low"]) == (99, 14)
    assert row["volume"] == 4 * 300 + 400
    assert row["minute_count"] == 5
    assert (row["status"], row["revision"]) == ("partial", None)  # none of the stream's is loaded


def test_hours_are_the_clocks_and_never_cross_sessions(filled: Filled) -> None:
    hours = filled.gold(
        "select session, candle_time, candle_end from gold.gold_candlestick_1h "
        f"where symbol = 'AAPL' and session_date = '{START.date()}' order by candle_time"
    )

    assert [tuple(row.values()) for row in hours] == [
        ("pre", naive(-5400), naive(-1800)),
        ("pre", naive(-1800), naive(0)),
        ("regular", naive(0), naive(1800)),
    ]


def test_day_is_the_regular_session_with_pre_market_volume_beside(filled: Filled) -> None:
    (row,) = filled.gold(
        "select * from gold.gold_candlestick_1d where symbol = 'AAPL' "
        f"and session_date = '{START.date()}'"
    )

    assert row["candle_open"] == 10
    assert row["volume"] == 30 * 300 + 100
    assert (row["pre_volume"], row["post_volume"]) == (600, 0)
    assert row["minute_count"] == 30


def test_post_market_minute_that_came_in_a_later_load_is_in_the_published_day(
    filled: Filled,
) -> None:
    (row,) = filled.gold(
        "select * from gold.gold_candlestick_1d where symbol = 'AAPL' "
        f"and session_date = '{START.date() - timedelta(days=1)}'"
    )

    assert (row["volume"], row["post_volume"]) == (60 * 100, 300)


def kpi(filled: Filled, symbol: str) -> dict[str, object]:
    (row,) = filled.gold(f"select * from gold.gold_kpi where symbol = '{symbol}'")
    return row


def test_price_is_the_newer_of_quote_and_close(filled: Filled) -> None:
    assert (kpi(filled, "AAPL")["current_price"], kpi(filled, "AAPL")["price_basis"]) == (
        50,
        "quote",
    )
    assert (kpi(filled, "MSFT")["current_price"], kpi(filled, "MSFT")["price_basis"]) == (
        16,
        "candle",
    )


def test_change_is_against_the_quotes_previous_close_else_the_first_open(filled: Filled) -> None:
    assert (kpi(filled, "AAPL")["change_percent"], kpi(filled, "AAPL")["change_basis"]) == (
        pytest.approx(100 * (50 - 8) / 8),
        "previous_close",
    )
    assert (kpi(filled, BTC)["change_percent"], kpi(filled, BTC)["change_basis"]) == (
        0,
        "session_open",
    )


def test_staleness_is_against_the_newest_loaded_watermark_never_the_clock(filled: Filled) -> None:
    assert kpi(filled, "MSFT")["as_of"] == naive(359)
    assert kpi(filled, "MSFT")["staleness_s"] == 12000 - 359


def test_tree_map_has_volatility_from_ten_returns_on_and_a_sector(filled: Filled) -> None:
    rows = {row["symbol"]: row for row in filled.gold("select * from gold.gold_treechart")}

    assert rows["AAPL"]["return_count"] == 29
    assert rows["AAPL"]["volatility"] > 0
    assert rows["AAPL"]["relative_volatility"] == 1
    assert rows["MSFT"]["volatility"] is None
    assert {symbol: row["sector"] for symbol, row in rows.items()} == {
        "AAPL": "Technology",
        "MSFT": "Technology",
        BTC: "Crypto",
    }


def test_gauge_compares_with_earlier_days_up_to_the_same_minute(filled: Filled) -> None:
    found = filled.gold("select * from gold.gold_gauge")
    rows = {row["symbol"]: row for row in found if row["symbol"] != "*"}
    totals = {row["symbol_class"]: row for row in found if row["symbol"] == "*"}

    assert rows["AAPL"]["typical_days"] == 1  # the Friday of quotes alone is none
    assert rows["AAPL"]["typical_volume"] == 30 * 100  # of the 60 minutes of the day before
    assert rows["AAPL"]["relative_volume"] == rows["AAPL"]["volume"] / (30 * 100)
    assert rows["AAPL"]["gauge_max"] == 2 * 30 * 100
    assert rows["MSFT"]["typical_volume"] is None
    assert rows["MSFT"]["relative_volume"] is None
    assert rows["MSFT"]["gauge_max"] == rows["AAPL"]["volume"]
    assert totals["us_stock"]["volume"] == rows["AAPL"]["volume"]  # the one with a typical volume
    assert totals["crypto"]["sales"] == rows[BTC]["sales"]
    assert totals["crypto"]["volume"] is None


def test_load_and_build_again_change_nothing(filled: Filled) -> None:
    again, nothing = load(filled.settings), build(filled.settings)

    assert again.objects == 0
    assert not again.build_due
    assert not nothing.built


SILVER = (
    "silver_trades",
    "silver_candles",
    "silver_rollups",
    "silver_quotes",
    "silver_coverage",
    "silver_watermarks",
    "silver_symbol_days",
    "silver_typical",
    "silver_quarantine",
)


LOWS = "select candle_low from gold.gold_candlestick"


def published_rows(path: Path) -> dict[str, Rows]:
    return {
        table: rows_of(str(path), f"select * from gold.{table} order by all")
        for table in published.TABLES
    }


def test_a_full_refresh_gives_the_same_while_a_reader_has_gold_open(
    filled: Filled,
) -> None:
    def silver() -> dict[str, Rows]:
        return {
            table: filled.warehouse(f"select * exclude (_load_id) from silver.{table} order by all")
            for table in SILVER
        }

    query = "select count(*) from gold.gold_candlestick"
    by_the_minute, before = silver(), published.current_path(filled.settings)
    assert before is not None
    with duckdb.connect(before, read_only=True) as reader:
        count = reader.sql(query).fetchall()
        report = build(filled.settings, full_refresh=True)

        assert reader.sql(query).fetchall() == count
    after = published.current_path(filled.settings)
    assert after is not None
    assert after.name > before.name
    assert report.full
    assert silver() == by_the_minute
    assert published_rows(after) == published_rows(before)  # which started from the one before it


@pytest.mark.drill
def test_a_full_refresh_that_was_killed_before_it_published_is_in_the_next_file(
    lake_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    load(settings)
    build(settings)

    def next_minute(minute: int) -> set[float]:
        lake.put("candles", [candle("AAPL", minute, "10 12 9 11")])
        load(settings)
        assert not build(settings).full
        path = published.current_path(settings)
        return {row["candle_low"] for row in rows_of(str(path), LOWS)}

    assert next_minute(0) == {9}
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("update silver.silver_candles set low = 5")
    clear_basis(settings)
    assert next_minute(1) == {5, 9}

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DuckDBWarehouse, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            build(settings, full_refresh=True)  # computes the low again

    assert next_minute(2) == {9}


def test_a_minutes_build_scans_raw_for_new_rows_alone(filled: Filled, tmp_path: Path) -> None:
    """A scan that has the load as its own filter skips the parts of the table that have no such
    row. Rejections of earlier loads may be of new trades, so that all are read."""
    path = tmp_path / "STOCKS.duckdb"
    shutil.copy(filled.settings.warehouse_path, path)
    before = {BUILT_LOAD: "1"}  # a plan without new rows has no scan
    done = run_dbt(filled.settings, "compile", "--select", "tag:silver", more=before)
    assert done.returncode == 0, done.stdout
    compiled = folder(filled.settings) / "compiled" / "stocks" / "models" / "silver"
    scans = dict[str, list[str]]()
    with duckdb.connect(str(path)) as db:
        for file in sorted(compiled.glob("*.sql")):
            (row,) = db.execute(f"explain (format json) {file.read_text()}").fetchall()
            for scan in raw_scans(json.loads(row[1])):
                scans.setdefault(scan["Table"].split(".")[-1], []).append(
                    f"{file.stem}: {scan.get('Filters', '')}"
                )

    scans.pop("REJECTED", None)
    assert set(scans) >= {"CANDLES", "TRADES"}
    assert [each for found in scans.values() for each in found if "_load_id > 1" not in each] == []


def raw_scans(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The details of each scan of RAW in a plan of DuckDB."""
    for node in nodes:
        found = node["extra_info"]
        if ".RAW." in str(found.get("Table", "")):
            yield found
        yield from raw_scans(node["children"])


def test_times_are_utc(filled: Filled) -> None:
    (row,) = filled.gold(
        f"select min(candle_time) as first from gold.gold_candlestick where symbol = '{BTC}'"
    )

    assert row["first"] == START.replace(tzinfo=None)


def test_unit_tests_and_data_tests_over_full_tables_pass(filled: Filled) -> None:
    done = run_dbt(filled.settings, "test", "--vars", "full_table: true")

    results = json.loads((folder(filled.settings) / "run_results.json").read_text())["results"]
    manifest = json.loads((folder(filled.settings) / "manifest.json").read_text())
    kinds = Counter(result["unique_id"].split(".")[0] for result in results)
    assert done.returncode == 0, done.stdout
    assert {result["status"] for result in results} == {"pass"}
    assert kinds["unit_test"] == len(manifest["unit_tests"]) > 1
    assert kinds["test"] == sum(name.startswith("test.") for name in manifest["nodes"]) > 1


def test_dbt_writes_no_results_with_its_own_option(filled: Filled) -> None:
    results = folder(filled.settings) / "run_results.json"
    results.unlink(missing_ok=True)

    done = run_dbt(filled.settings, "test", "--select", "gold_symbols", "--no-write-json")

    assert done.returncode == 0, done.stdout
    assert not results.exists()


def test_sources_without_new_rows_are_reported_as_stale(filled: Filled, tmp_path: Path) -> None:
    path = tmp_path / "STOCKS.duckdb"
    shutil.copy(filled.settings.warehouse_path, path)
    with duckdb.connect(str(path)) as db:
        for table in ("raw.coverage", "raw.trades"):
            db.execute(f"update {table} set _loaded_at = timestamp '2024-03-05 14:30:00'")
    settings = filled.settings.model_copy(update={"duckdb_path": path})

    done = run_dbt(
        settings, "source", "freshness", "--select", "source:raw.coverage", "source:raw.trades"
    )

    found = json.loads((folder(settings) / "sources.json").read_text())["results"]
    assert done.returncode == 1
    assert {each["unique_id"].split(".")[-1]: each["status"] for each in found} == {
        "coverage": "error",
        "trades": "warn",
    }


def test_documentation_is_one_file_that_needs_no_network(filled: Filled, tmp_path: Path) -> None:
    text = write_site(filled.settings, tmp_path).read_text()

    assert "gold_candlestick" in text
    assert "TIMESTAMP" in text  # types come from the warehouse
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//[a-z]|url\(["']?https?:""", text)


@pytest.mark.drill
def test_rule_that_a_model_breaks_fails_the_build_and_readers_keep_the_last_good_gold(
    lake_settings: Callable[..., Settings],
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    load(settings)
    assert build(settings).full  # of an empty lake
    lake.put("candles", [candle("AAPL", 0, "10 12 9 11")])
    load(settings)
    assert not build(settings).full
    good = published.current_path(settings)
    wrong = "insert into silver.silver_candles select * replace (99 as low, 'X' as symbol, {} as "
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute(wrong.format("9") + "_load_id) from silver.silver_candles")
    lake.put("candles", [candle("AAPL", 1, "10 12 9 11")])
    newest = load(settings).load_id

    with pytest.raises(BuildFailed, match="silver_candles_rules_hold"):
        build(settings)

    assert published.current_path(settings) == good
    with opened(settings, "load") as warehouse:
        last = warehouse.last_build()
    assert last is not None
    assert last.load_id < newest  # a failed build counts as none
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("delete from silver.silver_candles where symbol = 'X'")
    assert build(settings).built
    assert published.current_path(settings) != good
