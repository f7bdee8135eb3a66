"""A warehouse filled by two loads and two builds, shared by tests that only read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from app.embedded.s3 import S3Server
from app.settings import Settings
from app.warehouse import published
from app.warehouse.commands import BuildReport, LoadReport, build, load
from tests.integration.warehouse.lake_writer import (
    CANDLES_INCARNATION,
    START,
    STOCKS_INCARNATION,
    LakeWriter,
    candle,
    quote,
    rejection,
    trade,
    watermark,
)
from tests.integration.warehouse.on_snowflake import OnSnowflake
from tests.snowflake_local.process import LocalSnowflake
from tests.support import settings_on

Rows = list[dict[str, Any]]
NEWER_CANDLES = CANDLES_INCARNATION.replace("17096", "17097")
NEWER_STOCKS = STOCKS_INCARNATION.replace("17096", "17097")
BTC = "BINANCE:BTCUSDT"


@pytest.fixture(scope="package")
def lake_settings(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """Settings with a namespace and folder of their own, on the session's S3 server; no Kafka."""

    def make(**overrides: Any) -> Settings:
        return settings_on(s3_server, tmp_path_factory.mktemp("data"), **overrides)

    return make


@pytest.fixture
def on_snowflake(
    local_snowflake: LocalSnowflake, lake_settings: Callable[..., Settings]
) -> OnSnowflake:
    return OnSnowflake(local_snowflake, lake_settings())


class Filled:
    """A warehouse with its lake, and the reports of its loads and builds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = LakeWriter(settings)
        self.loads: list[LoadReport] = []
        self.builds: list[BuildReport] = []

    def load_and_build(self) -> None:
        self.loads.append(load(self.settings))
        self.builds.append(build(self.settings))

    def gold(self, query: str) -> Rows:
        """Rows of the published file."""
        path = published.current_path(self.settings)
        assert path is not None
        return rows_of(str(path), query)

    def warehouse(self, query: str) -> Rows:
        """Rows of the warehouse itself."""
        return rows_of(str(self.settings.warehouse_path), query)


def rows_of(path: str, query: str) -> Rows:
    with duckdb.connect(path, read_only=True) as db:
        return db.sql(query).to_arrow_table().to_pylist()


@pytest.fixture(scope="package")
def filled(lake_settings: Callable[..., Settings]) -> Filled:
    filled = Filled(lake_settings())
    first_load(filled.lake)
    filled.load_and_build()
    second_load(filled.lake)
    filled.load_and_build()
    return filled


def rising(symbol: str, minutes: range, **other: Any) -> Rows:
    """Candles that open at 10 plus their minute and close one above."""
    return [candle(symbol, m, f"{m + 10} {m + 12} {m + 9} {m + 11}", **other) for m in minutes]


def quote_alone(symbol: str, start: datetime) -> dict[str, Any]:
    """The candle of a minute without trades."""
    none = {"trade_count": 0, "eligible_count": 0, "price_source": "quote"}
    return candle(symbol, 0, "10 10 10 10", volume="0", window_start=start, **none)


def first_load(lake: LakeWriter) -> None:
    day_before = [
        row
        | {
            "window_start": row["window_start"] - timedelta(days=1),
            "window_end": row["window_end"] - timedelta(days=1),
            "session_date": (START - timedelta(days=1)).date().isoformat(),
        }
        for row in rising("AAPL", range(60), volume="100")
    ]
    lake.put("candles", [quote_alone("AAPL", START - timedelta(days=4))], partition=1)
    lake.put("candles", day_before, partition=1)
    pre = [candle("AAPL", -m, "9 9 9 9", session="pre") for m in (40, 10)]
    lake.put("candles", [*pre, *rising("AAPL", range(30))], partition=1)
    lake.put("candles", rising("MSFT", range(5)), partition=1)
    night = [
        candle(BTC, 60 * h, "50000 50000 50000 50000", volume="0.5", session="continuous")
        for h in range(3)
    ]
    lake.put("candles", night, partition=2)
    lake.put(
        "trades",
        [
            trade("AAPL", 1, "10", _offset=0, _index=0),
            trade("AAPL", 1, "10", _offset=0, _index=1, repeat_index=1),
            trade("AAPL", 2, "11", _offset=1, _index=0),
        ],
    )
    lake.put("trades", [trade("MSFT", 10, "10"), trade("MSFT", 10, "10")], partition=1)
    lake.put("quotes", [quote("AAPL", 5, "10", "8"), quote("MSFT", 5, "10", "8")])
    lake.put("coverage", [watermark("AAPL", 1800), watermark(BTC, 12000), watermark("MSFT", 300)])


def second_load(lake: LakeWriter) -> None:
    lake.put("candles", rising("MSFT", range(5, 6)), partition=0)
    # of the day before, whose regular session is in the first load
    lake.put("candles", [candle("AAPL", 400 - 24 * 60, "9 9 9 9", session="post")], partition=1)
    revised = {"revision": 1, "status": "revised", "trade_count": 4, "eligible_count": 4}
    lake.put("candles", [candle("AAPL", 5, "15 99 14 16", volume="400", **revised)], partition=1)
    other_incarnation = [
        candle("AAPL", 6, "1 1 1 1", trade_count=2, eligible_count=2),
        candle("AAPL", 7, "70 70 70 70", trade_count=9),
        candle("AAPL", 8, "80 80 80 80", trade_count=3),
    ]
    lake.put("candles", other_incarnation, partition=1, incarnation=NEWER_CANDLES)
    lake.put(  # the archive again, after a crash, and one message more
        "trades",
        [
            trade("AAPL", 1, "10", _offset=0, _index=0),
            trade("AAPL", 1, "10", _offset=0, _index=1, repeat_index=1),
            trade("AAPL", 2, "11", _offset=1, _index=0),
            trade("AAPL", 3, "12", _offset=2, _index=0),
            trade("AAPL", 3, "13", _offset=2, _index=1),
        ],
        first_offset=0,
    )
    lake.put("trades", [trade("AAPL", 1, "10"), trade("AAPL", 2, "11")], incarnation=NEWER_STOCKS)
    lake.put("rejected", [rejection(0, 1, None), rejection(0, 2, "1"), rejection(1, 0, "0")])
    lake.put("quotes", [quote("AAPL", 1900, "50", "8")])
    reported = [watermark("AAPL", 1803, covered_ms=3), watermark("AAPL", 1805, covered_ms=2)]
    lake.put("coverage", [*reported, watermark("AAPL", 1806)])
    lake.put("coverage", [watermark("MSFT", 1800), watermark("AAPL", 2000, covered_ms=1)])
