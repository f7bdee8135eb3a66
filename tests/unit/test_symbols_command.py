"""Rows of symbols.csv, and how Finnhub's profiles become rows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.feeds.clock import ManualClock
from app.feeds.finnhub.profiles import SECTORS, Profile, parse_profile
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import RestCalls
from app.feeds.finnhub.vendor import FinnhubProfiles
from app.feeds.vendor import RequestError
from app.market.symbols import symbol_class
from app.settings import Settings, SettingsError
from app.symbols_command import SEED, Found, SeedError, SymbolRow, find, read_rows, run, write_rows
from tests.unit.feeds.rest_api import FakeApi

APPLE = {"name": "Apple Inc", "finnhubIndustry": "Technology", "exchange": "NASDAQ NMS"}


def found(symbols: list[str], *answers: Any) -> Found:
    calls = RestCalls([(FakeApi(*answers), CallBudget())], ManualClock(0), Random(1))
    return asyncio.run(find(symbols, FinnhubProfiles(calls)))


def test_the_seed_has_the_default_symbols_each_with_its_class_and_a_known_sector() -> None:
    rows = read_rows(SEED)

    assert set(Settings(_env_file=None).stocks_symbols) <= set(rows)  # type: ignore[call-arg]
    assert list(rows) == sorted(rows)
    for row in rows.values():
        assert row.symbol_class == symbol_class(row.symbol)
        assert all(field.strip() == field != "" for field in row)
    funds_and_pairs = {"Index Funds", "Commodity Funds", "Crypto"}
    assert {row.sector for row in rows.values()} <= {*SECTORS.values(), *funds_and_pairs}


def test_a_profile_gives_name_sector_and_exchange() -> None:
    assert parse_profile(APPLE) == Profile("Apple Inc", "Technology", "NASDAQ NMS")
    assert parse_profile({"name": " Two\n lines ", "finnhubIndustry": "Witchcraft"}) == Profile(
        "Two lines", "Other", "Other"
    )
    assert parse_profile({}) is None


@pytest.mark.parametrize("payload", [[], "x", None, {"name": 5}])
def test_an_answer_of_another_shape_is_no_profile(payload: Any) -> None:
    with pytest.raises(ValueError, match="profile"):
        parse_profile(payload)


def test_stocks_are_asked_for_and_other_classes_follow_from_the_symbol() -> None:
    symbols = ["AAPL", "ZZZZ", "OANDA:EUR_USD", "GC202412", "ACME:THING"]

    assert found(symbols, RequestError("HTTP 502", "soon", 502), APPLE, {}) == Found(
        [
            SymbolRow("AAPL", "Apple Inc", "Technology", "NASDAQ NMS", "us_stock"),
            SymbolRow("ZZZZ", "ZZZZ", "Other", "Other", "us_stock"),
            SymbolRow("OANDA:EUR_USD", "OANDA:EUR_USD", "Forex", "OANDA", "forex"),
            SymbolRow("GC202412", "GC202412", "Futures", "Other", "future"),
            SymbolRow("ACME:THING", "ACME:THING", "Other", "Other", "other"),
        ],
        {},
    )


def test_a_symbol_without_an_answer_is_named_and_a_rejected_key_ends_the_search() -> None:
    no_access = RequestError("HTTP 403: no access", "no", 403)
    assert found(["A", "B"], no_access, APPLE).failures == {"A": "HTTP 403: no access"}
    rejected = RequestError("HTTP 401: Invalid API key.", "no", 401)
    assert list(found(["A", "B", "C"], rejected, rejected).failures) == ["A", "B"]
    assert list(found(["A", "B", "C"], APPLE, rejected, APPLE, APPLE).failures) == ["B"]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    row = SymbolRow("A", 'Agilent, "the" company', "Health Care", "NYSE", "us_stock")
    write_rows(tmp_path / "symbols.csv", {"A": row})

    assert read_rows(tmp_path / "symbols.csv") == {"A": row}


def test_a_file_of_other_columns_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "symbols.csv"
    file.write_text("symbol,sector\nA,Health Care\n")

    with pytest.raises(SeedError, match="must have the columns symbol, name, sector"):
        run(Settings(_env_file=None), ["A"], again=False, file=file)  # type: ignore[call-arg]
    assert file.read_text() == "symbol,sector\nA,Health Care\n"


def test_without_a_key_the_command_fails(tmp_path: Path) -> None:
    write_rows(tmp_path / "symbols.csv", {})

    with pytest.raises(SettingsError, match="FINNHUB_API_KEY is not set: the profiles of ZZZZ"):
        run(
            Settings(_env_file=None),  # type: ignore[call-arg]
            ["zzzz"],
            again=False,
            file=tmp_path / "symbols.csv",
        )
