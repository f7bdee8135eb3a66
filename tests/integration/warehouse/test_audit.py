"""The audit: candles of real trades, recomputed in SQL, equal those of the application."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.contracts import ROLLUP_TOPICS, Candle, Message, RejectionRecord, Trades, Watermark, encode
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.lake import DATASETS, ObjectKey
from app.rejection_records import MessageOrigin, rejection_records
from app.settings import Settings
from app.warehouse.audit import AuditFailed, audit, run
from app.warehouse.commands import build, load
from app.warehouse.progress import read_progress
from app.warehouse.transform import BuildFailed
from sinks.rows import ROW_COLUMNS, candle_rows, rejection_rows, stocks_rows
from tests.integration.warehouse.lake_writer import INCARNATIONS, STOCKS_INCARNATION, LakeWriter
from topologies.core.candle import Rules, SymbolCandles

DAY_MS = 86_400_000
KAFKA_MS = 1_709_640_000_000
SYMBOLS = ("AIG", "IBM")


@dataclass
class AuditRecord:
    key: bytes
    value: bytes
    offset: int
    timestamp: int


class TradeStream:
    """Messages of real trades, with late and repeated ones, and the candles made of them."""

    def __init__(self, file: Path) -> None:
        trades = (t for t in read_trades(file).interleaved() if t.symbol in SYMBOLS)
        sent = list(messages(islice(trades, 60_000), "replay", 5_000, 900_000))
        target = {i: i + 300 if i % 100 == 0 else i for i, _ in enumerate(sent)}
        late = [sent[i] for i in sorted(target, key=lambda i: (target[i], i))]
        repeats = [message for message in late[:5_000] if isinstance(message, Trades)][::50]
        self.messages = [*late[:5_000], *repeats, *late[5_000:], *self.two_days_later(sent)]

    def two_days_later(self, sent: list[Message]) -> Iterator[Message]:
        """Yield the end of each symbol's day, and another minute two days later."""
        marks = {mark.symbol: mark for mark in sent if isinstance(mark, Watermark)}
        firsts = {m.symbol: m for m in reversed(sent) if isinstance(m, Trades)}
        for days in (1, 3):
            for symbol, mark in marks.items():
                t = mark.t + days * DAY_MS
                yield replace(mark, received_at=t, t=t)
                t = firsts[symbol].received_at + 2 * DAY_MS
                trades = [replace(firsts[symbol].trades[0], t=t)]
                if days == 1:
                    yield replace(firsts[symbol], received_at=t, trades=trades)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Rows as the archive writes them: by dataset, rollups by topic."""
        rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for offset, message in enumerate(self.messages):
            record = AuditRecord(
                message.symbol.encode(), encode(message), offset, KAFKA_MS + offset
            )
            found = stocks_rows(record, "replay")
            rows[found.dataset] += found.rows
        offsets: Counter[str] = Counter()
        records, rejected = self.output()
        for number, candle in enumerate(records):
            name = "candles" if candle.interval == "1m" else ROLLUP_TOPICS[candle.interval]
            offset = offsets[name]
            record = AuditRecord(candle.symbol.encode(), encode(candle), offset, KAFKA_MS + number)
            rows[name] += candle_rows(record, "replay").rows
            offsets[name] += 1
        for offset, rejection in enumerate(rejected):
            record = AuditRecord(b"", encode(rejection), offset, KAFKA_MS)
            rows["rejected"] += rejection_rows(record, "replay").rows
        return rows

    def output(self) -> tuple[list[Candle], list[RejectionRecord]]:
        """Minutes and their rollups, in the order in which they are written, and rejections."""
        rules, symbols = Rules("replay"), {}
        made, rejected = [], []
        for offset, message in enumerate(self.messages):
            symbol = message.symbol
            if symbol not in symbols:
                symbols[symbol] = SymbolCandles(symbol, rules, Counter())
            outcome = symbols[symbol].apply(message, offset, None)
            made += [*outcome.records, *outcome.rollups]
            origin = MessageOrigin(STOCKS_INCARNATION, "stocks-topic", 0, offset)
            rejected += rejection_records(encode(message), outcome.rejections, "replay", origin)
        return made, rejected


def put(lake: LakeWriter, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows as an object of the archive; rollups (`candles-5m`) have their own incarnation."""
    dataset = name.split("-")[0]
    names = ROW_COLUMNS[dataset]
    incarnation = (
        INCARNATIONS[dataset].replace("candles-1m", name) if "-" in name else INCARNATIONS[dataset]
    )
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    count = len(columns["_offset"])
    columns |= {
        "_topic_id": [incarnation] * count,
        "_incarnation": [incarnation] * count,
        "_partition": [0] * count,
    }
    schema = DATASETS[dataset]
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    key = ObjectKey(dataset, incarnation, 0, columns["_offset"][0], columns["_offset"][-1])
    lake.put_table(key, pa.Table.from_arrays(arrays, schema=schema))


@pytest.fixture(scope="module")
def audited(lake_settings: Callable[..., Settings], test_data: Path) -> Settings:
    """A warehouse of real trades and the candles that the application makes of them."""
    settings = lake_settings()
    lake = LakeWriter(settings)
    for name, found in TradeStream(test_data / "us_equities_trades.parquet").rows().items():
        put(lake, name, found)
    load(settings)
    build(settings)
    return settings


def test_audit_confirms_candles_of_real_trades(audited: Settings) -> None:
    report = audit(audited)

    assert report.differences == []
    assert report.differing == 0
    assert report.compared > 600
    assert report.rollups > 200
    with duckdb.connect(str(audited.warehouse_path)) as warehouse:
        (revised,) = warehouse.sql(
            "select count(*) from silver.silver_candles where revision > 0"
        ).fetchall()[0]
    assert revised


PLANTED = """
    create table kept as select * from silver.silver_candles;
    update silver.silver_candles set high = high + 1000, close = high + 1000
    where symbol = 'IBM' and window_start = {wrong};
    delete from silver.silver_candles where symbol = 'AIG' and window_start = {missing};
    insert into silver.silver_candles by name
    select * replace ({surplus} as window_start, {surplus} + interval 1 minute as window_end)
    from kept where symbol = 'IBM' and window_start = {wrong};
"""


def test_audit_shows_a_row_for_a_wrong_a_missing_and_a_surplus_candle(
    audited: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with duckdb.connect(str(audited.warehouse_path)) as warehouse:
        (wrong,), (missing,) = (
            warehouse.execute(
                "select window_start from silver.silver_candles where symbol = ? "
                "and session = 'regular' order by window_start limit 1 offset 20",
                [symbol],
            ).fetchall()[0]
            for symbol in SYMBOLS[::-1]
        )
        surplus = wrong.replace(hour=5)  # the middle of the night
        planted = {"wrong": wrong, "missing": missing, "surplus": surplus}
        literals = {name: f"timestamp '{moment}'" for name, moment in planted.items()}
        warehouse.execute(PLANTED.format(**literals))
    try:
        with pytest.raises(AuditFailed, match=r"^3 of [\d,]+ candles differ .* AIG 1m"):
            run(audited, since=wrong.date(), until=wrong.date())
        found = audit(audited)
    finally:
        with duckdb.connect(str(audited.warehouse_path)) as warehouse:
            warehouse.execute("delete from silver.silver_candles")
            warehouse.execute("insert into silver.silver_candles select * from kept")
            warehouse.execute("drop table kept")

    assert [d[:5] for d in found.differences] == [
        ("missing", "AIG", "1m", str(missing), None),
        ("surplus", "IBM", "1m", str(surplus), None),
        ("wrong", "IBM", "1m", str(wrong), "high"),
    ]
    output = capsys.readouterr().out
    assert all(kind in output for kind in ("missing", "surplus", "wrong"))


ROLLUP_FIELDS = """
    symbol, candle_interval, session, session_date, open, high, low, close, volume, notional, vwap,
    trade_count, eligible_count, odd_lot_count, odd_lot_volume, zero_volume_count, price_source,
    late_count, duplicate_count, covered_ms::bigint, revision::bigint, status, pre_volume,
    post_volume
"""


def test_finished_rollups_are_the_streams_in_every_field(audited: Settings) -> None:
    day = "case when candle_interval = '1d' then session_date::timestamp else window_start end"
    newest = "row_number() over (partition by symbol, candle_interval, window_start"
    with duckdb.connect(str(audited.warehouse_path)) as warehouse:
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
def test_audit_shows_a_row_for_a_wrong_a_missing_and_a_surplus_rollup(audited: Settings) -> None:
    with duckdb.connect(str(audited.warehouse_path)) as warehouse:
        warehouse.execute(PLANTED_ROLLUPS)
    try:
        found = audit(audited)
    finally:
        with duckdb.connect(str(audited.warehouse_path)) as warehouse:
            warehouse.execute("delete from silver.silver_rollups")
            warehouse.execute("insert into silver.silver_rollups select * from kept")
            warehouse.execute("drop table kept; drop table planted")

    assert found.differing == 3
    assert sorted((d.kind, d.interval, d.field) for d in found.differences) == [
        ("missing", "15m", None),
        ("surplus", "15m", None),
        ("wrong", "15m", "vwap"),
    ]


def test_an_audit_up_to_the_newest_date_is_part_of_the_health(audited: Settings) -> None:
    report = audit(audited)
    recorded = read_progress(audited).audit
    assert recorded is not None
    assert recorded.compared == report.compared + report.rollups > 0
    assert recorded.failure == report.failure
    audit(audited, until=date(2001, 1, 1))
    assert read_progress(audited).audit == recorded


def test_an_audit_that_compared_nothing_fails(audited: Settings) -> None:
    with pytest.raises(AuditFailed, match="no candle to compare"):
        run(audited, since=date(2001, 1, 1), until=date(2001, 1, 1))


def test_audit_without_a_warehouse_is_an_error(lake_settings: Callable[..., Settings]) -> None:
    with pytest.raises(BuildFailed, match="Build the warehouse first"):
        audit(lake_settings())
