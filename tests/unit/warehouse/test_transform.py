"""The environment dbt runs with, and how its results are read."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.warehouse.reports import BuildReport
from app.warehouse.transform import (
    PROJECT,
    BuildFailed,
    Fingerprint,
    dbt_build,
    environment,
    fingerprint,
    read_results,
)


def test_fingerprint_changes_with_any_file_except_artifacts(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "models" / "a.sql").write_text("select 1")
    first = fingerprint(tmp_path)
    (tmp_path / "target" / "manifest.json").write_text("{}")
    assert fingerprint(tmp_path) == first

    (tmp_path / "models" / "a.sql").write_text("select 2")
    assert fingerprint(tmp_path) != first


@pytest.mark.parametrize(
    ("changed", "concerns_silver"),
    [
        ("models/silver/silver_candles.sql", True),
        ("models/bronze/bronze_candles.sql", True),
        ("macros/trailing.sql", True),
        ("seeds/symbols.csv", False),
        ("models/gold/gold_kpi.sql", False),
        ("models/silver/silver_candles.yml", False),
        ("tests/assert_candles_are_whole.sql", False),
    ],
)
def test_fingerprint_separates_a_change_of_silvers_rows_from_others(
    tmp_path: Path, changed: str, concerns_silver: bool
) -> None:
    file = tmp_path / changed
    file.parent.mkdir(parents=True)
    file.write_text("rows between 19 preceding and current row")
    before = fingerprint(tmp_path)
    file.write_text("rows between 4 preceding and current row")
    after = fingerprint(tmp_path)

    assert after.project != before.project
    assert (after.silver != before.silver) == concerns_silver
    assert Fingerprint.parse(str(after)) == after


def test_a_seed_concerns_silver_if_its_models_read_it_also_by_a_macro(tmp_path: Path) -> None:
    files = {
        "models/silver/silver_trades.sql": "{{ effects('trades') }} join {{ ref('sectors') }}",
        "models/gold/gold_symbols.sql": "select * from {{ ref('symbols') }}",
        "macros/dialect.sql": "{% macro duckdb__effects(x) -%}{{ codes(x) }}{%- endmacro %}",
        "macros/codes.sql": '{%- macro codes(x) %}{{ ref("conditions") }}{% endmacro %}',
        "macros/audit.sql": "{% macro audit(x) %}{{ ref('audited') }}{% endmacro %}",
    }
    seeds = ["audited", "conditions", "sectors", "symbols"]
    for name, text in (files | {f"seeds/{name}.csv": "a" for name in seeds}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    concerning = []
    for name in seeds:
        before = fingerprint(tmp_path).silver
        (tmp_path / "seeds" / f"{name}.csv").write_text("b")
        concerning += [name] if fingerprint(tmp_path).silver != before else []

    assert concerning == ["conditions", "sectors"]


def test_refreshed_symbols_concern_only_gold(tmp_path: Path) -> None:
    project = tmp_path / "dbt_stocks"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    before = fingerprint(project)
    for name in ("symbols", "symbol_classes", "trade_conditions"):
        with (project / "seeds" / f"{name}.csv").open("a") as seed:
            seed.write("\n")

    assert fingerprint(project).silver == before.silver
    assert fingerprint(project).project != before.project


def test_report_of_a_build_names_rows_that_a_change_did_not_reach() -> None:
    reached = BuildReport(True, 2, True, 9, 30, Path("gold.duckdb"), 1.0)

    assert len(list(reached.sentences())) == 1
    assert "--full-refresh" in list(reached._replace(outdated=True).sentences())[-1]


def test_dbt_writes_into_our_home_and_sees_no_secret_of_others(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_data_dir=tmp_path,
        finnhub_api_key=SecretStr("key"),
    )
    base = {"PATH": "/bin", "FINNHUB_API_KEY": "key", "lake_bucket": "b", "BUILT_LOAD": "7"}
    seen = environment(settings, base)

    assert seen["PATH"] == "/bin"
    assert "FINNHUB_API_KEY" not in seen
    assert "BUILT_LOAD" not in seen
    assert "key" not in seen.values()
    assert seen["DUCKDB_PATH"] == str(settings.warehouse_path)
    for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
        assert Path(seen[name]).is_relative_to(settings.home)
        assert not Path(seen[name]).is_relative_to(PROJECT)


def test_dbt_builds_in_the_database_of_the_namespace(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_data_dir=tmp_path,
        tickhouse_namespace="demo-live",
    )

    assert environment(settings, {})["SNOWFLAKE_DATABASE"] == "STOCKS_DEMO_LIVE"


def test_results_count_models_and_tests_and_name_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    results = [
        {"unique_id": "model.stocks.silver_candles", "status": "success", "message": "OK"},
        {"unique_id": "test.stocks.rules_hold.1a", "status": "fail", "message": "Got 1\n result"},
        {"unique_id": "test.stocks.a_warning.1b", "status": "warn", "message": "Got 2 results"},
        {"unique_id": "model.stocks.gold_kpi", "status": "skipped", "message": None},
    ]
    with caplog.at_level(logging.WARNING):
        found = read_results({"results": results})

    assert (found.models, found.tests) == (2, 2)
    assert found.failures == ("rules_hold (Got 1 result)",)
    assert "a_warning" in caplog.text


def test_failure_before_any_node_ends_with_what_dbt_printed_last(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_data_dir=tmp_path,
        tickhouse_feed="replay",
    )
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"a text file" * 1000)

    with pytest.raises(BuildFailed, match=r"before any node: .*not a valid DuckDB database file"):
        dbt_build(settings, built_load=0, full=True)
