"""Reading the published file: found, reopened when there is a newer one, and missing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from app.dashboard.gold import GoldNotBuilt, GoldReader, as_json
from app.market.symbols import SymbolClass
from app.settings import Settings
from app.warehouse.published import POINTER, folder
from tests.candle_maker import START, publish_gold


def moment(minute: int) -> datetime:
    """A warehouse timestamp: UTC without a zone."""
    return datetime.fromtimestamp(START / 1000 + 60 * minute, UTC).replace(tzinfo=None)


KPI: dict[str, Any] = {"symbol": "AAPL", "current_price": 1.5, "as_of": moment(0)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")


def test_before_the_first_build_the_error_explains_it(settings: Settings) -> None:
    reader = GoldReader(settings)
    assert not reader.refresh()
    with pytest.raises(GoldNotBuilt, match="not been built yet"):
        reader.require()


def test_rows_of_the_three_tables_are_merged_by_symbol(settings: Settings) -> None:
    publish_gold(
        settings,
        "1.duckdb",
        kpi=[KPI],
        treechart=[{"symbol": "AAPL", "relative_volatility": 2.0, "current_price": 9.0}],
        gauge=[
            {"symbol": "AAPL", "typical_volume": 3.0},
            *({"symbol": "*", "symbol_class": of, "typical_volume": 4.0} for of in SymbolClass),
        ],
    )
    reader = GoldReader(settings)
    assert reader.refresh()
    gold = reader.require()
    row = gold.row("AAPL")
    assert row
    assert (row["current_price"], row["relative_volatility"], row["typical_volume"]) == (1.5, 2, 3)
    assert gold.symbols() == ["AAPL"]


def test_a_newer_build_is_opened_and_the_older_stays_readable(settings: Settings) -> None:
    minutes = [{"symbol": "AAPL", "candle_time": moment(m)} for m in range(3)]
    publish_gold(settings, "1.duckdb", kpi=[KPI], candlestick=minutes)
    reader = GoldReader(settings)
    reader.refresh()
    older = reader.require()
    publish_gold(settings, "2.duckdb", kpi=[KPI | {"current_price": 2.5}])
    Path(older.file[0]).unlink()
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.require().tables["kpi"][0]["current_price"] == 2.5
    assert [row["candle_time"] for row in older.candles("AAPL", 2)] == [moment(1), moment(2)]


def test_a_file_that_cannot_be_read_leaves_the_last_gold_and_a_sentence(
    settings: Settings,
) -> None:
    publish_gold(settings, "1.duckdb", kpi=[KPI])
    reader = GoldReader(settings)
    reader.refresh()
    (folder(settings) / "2.duckdb").write_text("no database")
    (folder(settings) / POINTER).write_text("2.duckdb\n")
    assert not reader.refresh()
    assert reader.require().tables["kpi"]
    assert reader.problem
    assert reader.problem.startswith("Gold cannot be read")


def test_an_error_that_nobody_expected_is_a_sentence_too(settings: Settings) -> None:
    reader = GoldReader(settings, find=lambda _: Path(f"{1 / 0}"))
    assert not reader.refresh()
    assert reader.problem == "Gold cannot be read: division by zero."


def test_deleted_gold_is_not_shown_any_longer(settings: Settings) -> None:
    publish_gold(settings, "1.duckdb", kpi=[KPI])
    reader = GoldReader(settings)
    reader.refresh()
    (folder(settings) / POINTER).unlink()
    assert reader.refresh()
    assert reader.gold is None


def test_times_become_unix_ms_and_dates_text() -> None:
    row = {"as_of": moment(1), "session_date": date(2023, 11, 14), "volume": 1.0}
    assert as_json(row) == {"as_of": START + 60_000, "session_date": "2023-11-14", "volume": 1.0}
