"""The audit: candles of real trades, recomputed in SQL, equal those of the application."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from app.settings import Settings
from app.warehouse.audit import AuditFailed, audit, run
from app.warehouse.commands import build, load
from app.warehouse.progress import read_progress
from app.warehouse.transform import BuildFailed
from tests.integration.warehouse.lake_writer import LakeWriter
from tests.integration.warehouse.trade_stream import TradeStream, put


class Sample(NamedTuple):
    """Recorded trades, and where the tests plant differences."""

    folder: str
    """the fixture that has it"""
    file: str
    trades: int
    wrong: str
    missing: str
    """symbols"""
    night_hour: int
    """when nothing is traded, UTC"""
    most: int
    """the number of candles that are surely compared"""


EQUITIES = Sample("test_data", "us_equities_trades.parquet", 60_000, "IBM", "AIG", 5, 600)
GOLD = Sample("gold_data", "gold_futures_trades.parquet", 3_000, "GC201312", "GC201312", 2, 100)
on_equities = pytest.mark.parametrize("audited", [EQUITIES], ids=["equities"], indirect=True)
on_gold = pytest.mark.parametrize("audited", [GOLD], ids=["gold"], indirect=True)
"""On the recorded day that everybody has."""
on_either = pytest.mark.parametrize(
    "audited", [EQUITIES, GOLD], ids=["equities", "gold"], indirect=True
)


class Audited(NamedTuple):
    settings: Settings
    sample: Sample


@pytest.fixture(scope="module")
def audited(request: pytest.FixtureRequest, lake_settings: Callable[..., Settings]) -> Audited:
    """A warehouse of real trades, and the candles that the application makes of them."""
    sample: Sample = request.param
    settings = lake_settings()
    lake = LakeWriter(settings)
    file: Path = request.getfixturevalue(sample.folder) / sample.file
    symbols = {sample.wrong, sample.missing}
    for name, found in TradeStream(file, symbols, sample.trades).rows().items():
        put(lake, name, found)
    load(settings)
    build(settings)
    return Audited(settings, sample)


@on_either
def test_audit_confirms_candles_of_real_trades(audited: Audited) -> None:
    settings, sample = audited
    report = audit(settings)

    assert report.differences == []
    assert report.differing == 0
    assert report.compared > sample.most
    assert report.rollups > sample.most // 3
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        (revised,) = warehouse.sql(
            "select count(*) from silver.silver_candles where revision > 0"
        ).fetchall()[0]
    assert revised


PLANTED = """
    create table kept as select * from silver.silver_candles;
    update silver.silver_candles set high = high + 1000, close = high + 1000
    where symbol = '{of_wrong}' and window_start = {wrong};
    delete from silver.silver_candles where symbol = '{of_missing}' and window_start = {missing};
    insert into silver.silver_candles by name
    select * replace ({surplus} as window_start, {surplus} + interval 1 minute as window_end)
    from kept where symbol = '{of_wrong}' and window_start = {wrong};
"""


@on_gold
def test_audit_shows_a_row_for_a_wrong_a_missing_and_a_surplus_candle(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, sample = audited
    symbols = {"of_wrong": sample.wrong, "of_missing": sample.missing}
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        (wrong,), (missing,) = (
            warehouse.execute(
                "select window_start from silver.silver_candles where symbol = ? and session in "
                "('regular', 'continuous') and trade_count > 0 order by window_start "
                f"limit 1 offset {number}",
                [symbol],
            ).fetchall()[0]
            for symbol, number in ((sample.wrong, 20), (sample.missing, 30))
        )
        surplus = wrong.replace(hour=sample.night_hour)
        planted = {"wrong": wrong, "missing": missing, "surplus": surplus}
        literals = {name: f"timestamp '{moment}'" for name, moment in planted.items()}
        warehouse.execute(PLANTED.format(**literals, **symbols))
    try:
        with pytest.raises(
            AuditFailed, match=rf"^3 of [\d,]+ candles differ .* {sample.missing} 1m"
        ):
            run(settings, since=wrong.date(), until=wrong.date())
        found = audit(settings)
    finally:
        with duckdb.connect(str(settings.warehouse_path)) as warehouse:
            warehouse.execute("delete from silver.silver_candles")
            warehouse.execute("insert into silver.silver_candles select * from kept")
            warehouse.execute("drop table kept")

    assert sorted((d[:5] for d in found.differences), key=str) == [
        ("missing", sample.missing, "1m", str(missing), None),
        ("surplus", sample.wrong, "1m", str(surplus), None),
        ("wrong", sample.wrong, "1m", str(wrong), "high"),
    ]
    output = capsys.readouterr().out
    assert all(kind in output for kind in ("missing", "surplus", "wrong"))


ROLLUP_FIELDS = """
    symbol, candle_interval, session, session_date, open, high, low, close, volume, notional, vwap,
    trade_count, eligible_count, odd_lot_count, odd_lot_volume, zero_volume_count, price_source,
    late_count, duplicate_count, covered_ms::bigint, revision::bigint, status, pre_volume,
    post_volume
"""


@on_equities
def test_finished_rollups_are_the_streams_in_every_field(audited: Audited) -> None:
    day = "case when candle_interval = '1d' then session_date::timestamp else window_start end"
    newest = "row_number() over (partition by symbol, candle_interval, window_start"
    with duckdb.connect(str(audited.settings.warehouse_path)) as warehouse:
        streamed = warehouse.sql(
            f"select {ROLLUP_FIELDS}, {day} as label from bronze.bronze_candles "
            f"where candle_interval <> '1m' qualify {newest} order by revision desc) = 1 "
            "order by all"
        ).fetchall()
        built = warehouse.sql(
            f"select {ROLLUP_FIELDS}, window_start from silver.silver_rollups "
            "where status <> 'partial' order by all"
        ).fetchall()

    assert built == streamed
    assert len(built) > 200


PLANTED_ROLLUPS = """
    create table kept as select * from silver.silver_rollups;
    create table planted as
    select * from kept where candle_interval = '15m' and status = 'final' and volume > 0
    order by window_start, symbol limit 3;
    update silver.silver_rollups set vwap = silver_rollups.vwap * (1 + 2.3e-16)
    from (from planted limit 1) as p
    where silver_rollups.symbol = p.symbol and silver_rollups.candle_interval = p.candle_interval
    and silver_rollups.window_start = p.window_start;
    delete from silver.silver_rollups using (from planted limit 1 offset 1) as p
    where silver_rollups.symbol = p.symbol and silver_rollups.candle_interval = p.candle_interval
    and silver_rollups.window_start = p.window_start;
    insert into silver.silver_rollups by name
    select * replace (window_start - interval 4 hour as window_start) from planted limit 1 offset 2;
"""


@pytest.mark.timeout(900)
@on_equities
def test_audit_shows_a_row_for_a_wrong_a_missing_and_a_surplus_rollup(audited: Audited) -> None:
    with duckdb.connect(str(audited.settings.warehouse_path)) as warehouse:
        warehouse.execute(PLANTED_ROLLUPS)
    try:
        found = audit(audited.settings)
    finally:
        with duckdb.connect(str(audited.settings.warehouse_path)) as warehouse:
            warehouse.execute("delete from silver.silver_rollups")
            warehouse.execute("insert into silver.silver_rollups select * from kept")
            warehouse.execute("drop table kept; drop table planted")

    assert found.differing == 3
    assert sorted((d.kind, d.interval, d.field) for d in found.differences) == [
        ("missing", "15m", None),
        ("surplus", "15m", None),
        ("wrong", "15m", "vwap"),
    ]


@on_gold
def test_an_audit_up_to_the_newest_date_is_part_of_the_health(audited: Audited) -> None:
    settings = audited.settings
    report = audit(settings)
    recorded = read_progress(settings).audit
    assert recorded is not None
    assert recorded.compared == report.compared + report.rollups > 0
    assert recorded.failure == report.failure
    audit(settings, until=date(2001, 1, 1))
    assert read_progress(settings).audit == recorded


@on_gold
def test_an_audit_that_compared_nothing_fails(audited: Audited) -> None:
    with pytest.raises(AuditFailed, match="no candle to compare"):
        run(audited.settings, since=date(2001, 1, 1), until=date(2001, 1, 1))


def test_audit_without_a_warehouse_is_an_error(lake_settings: Callable[..., Settings]) -> None:
    with pytest.raises(BuildFailed, match="Build the warehouse first"):
        audit(lake_settings())
