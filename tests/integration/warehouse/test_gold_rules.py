"""Gold of many kinds of symbols, and what its data tests notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import duckdb
import pytest

from app.market.symbols import CRYPTO_VENUES, FOREX_VENUES, FUTURES_ROOTS, SymbolClass, symbol_class
from app.settings import Settings
from app.warehouse.seeds import SEEDS
from app.warehouse.transform import folder, run_dbt
from tests.integration.warehouse.conftest import Filled
from tests.integration.warehouse.lake_writer import START, LakeWriter, candle

SECTORS = {
    SymbolClass.US_STOCK: "Other",
    SymbolClass.CRYPTO: "Crypto",
    SymbolClass.FOREX: "Forex",
    SymbolClass.FUTURE: "Futures",
    SymbolClass.OTHER: "Other",
}
"""Of a symbol whose sector is not known by its name."""
STRANGE = (
    "OANDA:EUR_USD",
    "IC MARKETS:1",
    "BINANCE:BTCUSDT",
    "BINANCE",  # a ticker, as no colon follows
    "OANDA",
    "ACME:THING",
    "GC201312",
    "GC201300",
    "GC201313",
    "GC20131A",
    "GC2013120",
    "AGC201312",
    "XY201312",
    "GC",
    "ZZZZ",
    "201312",
    "A:BINANCE:B",
    "ZZZZ.B",
)


RELATIVE = "gold_gauge_relative_volume_is_that_of_candles"


@pytest.fixture(scope="module")
def markets(lake_settings: Callable[..., Settings]) -> Filled:
    """A build over symbols of every class, two with a day before, one that no longer trades."""
    filled = Filled(lake_settings())
    lake = LakeWriter(filled.settings)
    for days_ago, symbols in (
        (11, ["OLD"]),
        (10, ["OLD"]),
        (1, ["AAPL", "ZZZZ"]),
        (0, ["AAPL", *sorted(symbols_of_all())]),
    ):
        start = START - timedelta(days=days_ago)
        rows = [
            candle(symbol, 0, "10 12 9 11", volume=str(100 + 10 * number), window_start=start)
            for number, symbol in enumerate(symbols)
        ]
        lake.put("candles", rows)
    filled.load_and_build()
    # the tests as they check all symbols, not a sample
    selection = ("gold_gauge", "silver_candles", RELATIVE)
    run_dbt(filled.settings, "compile", "--select", *selection, "--vars", "full_table: true")
    return filled


def symbols_of_all() -> set[str]:
    venues = {f"{venue}:1" for venue in CRYPTO_VENUES | FOREX_VENUES}
    return {*STRANGE, *venues, *(f"{root}202412" for root in FUTURES_ROOTS)}


def test_a_sector_is_the_well_known_sector_or_that_of_the_symbols_class(markets: Filled) -> None:
    found = markets.gold("select symbol, sector from gold.gold_treechart")

    expected = {symbol: SECTORS[symbol_class(symbol)] for symbol in symbols_of_all()}
    assert set(expected.values()) == set(SECTORS.values())
    assert {row["symbol"]: row["sector"] for row in found} == expected | {
        "AAPL": "Technology",
        "OLD": "Other",
    }


def compiled(filled: Filled, name: str) -> str:
    """SQL of the gauge, or of a data test, as dbt runs it."""
    (path,) = (folder(filled.settings) / "compiled").rglob(f"{name}.sql")
    return path.read_text()


Broken = Callable[..., list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def broken(markets: Filled) -> Iterator[Broken]:
    """The rows that fail a data test once statements have been run, for that once."""
    with duckdb.connect(str(markets.settings.warehouse_path)) as warehouse:

        def rows(test: str, *statements: str) -> list[tuple[object, ...]]:
            warehouse.begin()
            try:
                for statement in statements:
                    warehouse.execute(statement)
                return list(warehouse.execute(compiled(markets, test)).fetchall())
            finally:
                warehouse.rollback()

        yield rows


@pytest.mark.parametrize("test", ["gold_gauge_rules_hold", "gold_gauge_adds_up", RELATIVE])
def test_the_gauge_passes_its_tests(broken: Broken, test: str) -> None:
    assert broken(test) == []


CANDLES = "update silver.silver_candles set"


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (
            "insert into silver.silver_candles from silver.silver_candles where symbol = 'ZZZZ'",
            "grain_is_unique",
        ),
        (f"{CANDLES} close = null where symbol = 'ZZZZ'", "close_is_present"),
        (f"{CANDLES} low = high + 1 where symbol = 'ZZZZ'", "low_is_lowest"),
    ],
)
def test_a_row_that_fails_is_named_with_the_rule_it_breaks(
    broken: Broken, statement: str, rule: str
) -> None:
    found = broken("silver_candles_rules_hold", statement)

    assert {(row[0], row[-1]) for row in found} == {("ZZZZ", rule)}


def test_each_symbol_of_the_gauge_has_the_class_that_it_has_elsewhere(markets: Filled) -> None:
    found = markets.gold("select symbol, symbol_class from gold.gold_gauge where symbol <> '*'")

    assert {row["symbol"]: row["symbol_class"] for row in found} == {
        symbol: symbol_class(symbol) for symbol in {*symbols_of_all(), "AAPL", "OLD"}
    }


def test_the_total_of_a_class_compares_the_volume_of_symbols_with_history_with_their_history(
    markets: Filled,
) -> None:
    rows = {
        (row["symbol"], row["symbol_class"]): row
        for row in markets.gold("select * from gold.gold_gauge")
    }
    total, members = rows["*", "us_stock"], [rows[each, "us_stock"] for each in ("AAPL", "ZZZZ")]

    assert total["volume"] == sum(each["volume"] for each in members)
    assert total["relative_volume"] == total["volume"] / sum(
        each["typical_volume"] for each in members
    )


def test_the_sales_of_a_class_without_history_are_those_of_all_its_symbols(markets: Filled) -> None:
    (total,) = markets.gold(
        "select * from gold.gold_gauge where symbol = '*' and symbol_class = 'crypto'"
    )
    (members,) = markets.gold(
        "select sum(sales) as sales, max(sales) as most from gold.gold_gauge "
        "where symbol <> '*' and symbol_class = 'crypto'"
    )

    assert total["sales"] == members["sales"] > members["most"]
    assert total["typical_sales"] is None


def test_only_sizes_of_shares_are_added_up(markets: Filled) -> None:
    totals = markets.gold("select * from gold.gold_gauge where symbol = '*'")

    of_volume = ("volume", "typical_volume", "relative_volume", "gauge_max")
    assert len(totals) == 5
    for row in totals:
        found = {column for column in of_volume if row[column] is not None}
        assert found == ({*of_volume} if row["symbol_class"] == "us_stock" else set())


DAYS, TYPICAL = "update silver.silver_symbol_days set", "update silver.silver_typical set"


@pytest.mark.parametrize(
    ("statement", "failing"),
    [
        (f"{DAYS} volume = volume + 1 where symbol = 'ZZZZ'", "gold_gauge_adds_up"),
        (f"{DAYS} notional = notional / 2 where symbol = 'ZZZZ'", "gold_gauge_adds_up"),
        (f"{DAYS} session_date = session_date + 1 where symbol = 'ZZZZ'", "gold_gauge_adds_up"),
        (f"{DAYS} candles_until = null where symbol = 'ZZZZ'", "gold_gauge_adds_up"),
        ("delete from silver.silver_symbol_days where symbol = 'ZZZZ'", "gold_gauge_adds_up"),
        (f"{TYPICAL} typical_days = 0", "gold_gauge_rules_hold"),
        (f"{TYPICAL} typical_days = 1", "gold_gauge_rules_hold"),
        (f"{TYPICAL} typical_days = 21", "gold_gauge_rules_hold"),
        (f"{TYPICAL} typical_sales = null", "gold_gauge_rules_hold"),
        (f"{TYPICAL} typical_volume = 2 * typical_volume", RELATIVE),
        (f"{TYPICAL} typical_volume = null", RELATIVE),
    ],
)
def test_a_gauge_that_is_not_what_its_candles_make_fails_its_test(
    broken: Broken, statement: str, failing: str
) -> None:
    assert broken(failing, statement)


@pytest.mark.parametrize(
    ("right", "wrong", "failing"),
    [
        ("then 2 * typical_volume", "then typical_volume", "gold_gauge_rules_hold"),
        ("then 2 * typical_sales", "then 2 * typical_volume", "gold_gauge_rules_hold"),
        ("else max(volume)", "else min(volume)", "gold_gauge_rules_hold"),
        ("else max(sales)", "else 0 * max(sales)", "gold_gauge_rules_hold"),
        ("sum(volume)", "max(volume)", "gold_gauge_adds_up"),
        ("sum(sales)", "sum(volume)", "gold_gauge_adds_up"),
        ("partition by symbols.symbol_class", "partition by 1", "gold_gauge_adds_up"),
        ("group by symbol_class", "group by symbol_class, symbol", "gold_gauge_adds_up"),
        ("gold_symbols.symbol_class,", "'us_stock' as symbol_class,", "gold_gauge_adds_up"),
        ("gold_symbols.symbol_class,", "'share' as symbol_class,", "gold_gauge_rules_hold"),
        ("<= 4 * 86400000", "<= 20 * 86400000", "gold_gauge_adds_up"),
        ("order by session_date desc", "order by session_date", "gold_gauge_adds_up"),
        ("'*' as symbol", "'+' as symbol", "gold_gauge_adds_up"),
        ("= 'us_stock' then sum(volume)", "<> '' then sum(volume)", "gold_gauge_rules_hold"),
        ("= 'us_stock' then sum(volume)", "<> '' then sum(volume)", "gold_gauge_adds_up"),
        ("then volume / typical_volume", "then 1 + volume / typical_volume", RELATIVE),
        ("then volume / typical_volume", "then 0 * volume", "gold_gauge_rules_hold"),
    ],
)
def test_a_gauge_made_in_another_way_fails_its_test(
    markets: Filled, broken: Broken, right: str, wrong: str, failing: str
) -> None:
    sql = compiled(markets, "gold_gauge")
    assert sql.count(right) == 1

    view = f"create or replace view GOLD.gold_gauge as {sql.replace(right, wrong)}"
    assert broken(failing, view)


def test_seeds_are_in_step_with_the_rules() -> None:
    assert {path: path.read_text() for path in SEEDS} == {
        path: make() for path, make in SEEDS.items()
    }
