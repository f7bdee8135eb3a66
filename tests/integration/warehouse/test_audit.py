"""The audit: SQL makes the candles of real trades again and finds what the application made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.contracts import ROLLUP_TOPICS, Candle, Message, Trades, Watermark, encode
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.lake import DATASETS, ObjectKey
from app.settings import Settings
from app.warehouse.audit import audit
from app.warehouse.commands import build, load
from app.warehouse.transform import BuildFailed
from sinks.rows import ROW_COLUMNS, candle_rows, stocks_rows
from tests.integration.warehouse.lake_writer import INCARNATIONS, LakeWriter
from topologies.core.candle import Rules, SymbolCandles

DAY_MS = 86_400_000
KAFKA_MS = 1_709_640_000_000
SYMBOLS = ("AIG", "IBM")


@dataclass
class Record:
    key: bytes
    value: bytes
    offset: int
    timestamp: int


class Tape:
    """Real trades as messages, late ones and repeats among them, and the candles they make."""

    def __init__(self, file: Path) -> None:
        trades = (t for t in read_trades(file).interleaved() if t.symbol in SYMBOLS)
        sent = list(messages(islice(trades, 60_000), "replay", 5_000, 900_000))
        place = {i: i + 300 if i % 100 == 0 else i for i, _ in enumerate(sent)}
        late = [sent[i] for i in sorted(place, key=lambda i: (place[i], i))]
        repeats = [message for message in late[:5_000] if isinstance(message, Trades)][::50]
        self.messages = [*late[:5_000], *repeats, *late[5_000:], *self.two_days_later(sent)]

    def two_days_later(self, sent: list[Message]) -> Iterator[Message]:
        """The end of each symbol's day, and two days on a minute more."""
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
        """Rows of the lake as the archive makes them: by dataset, rollups by topic."""
        rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for offset, message in enumerate(self.messages):
            record = Record(message.symbol.encode(), encode(message), offset, KAFKA_MS + offset)
            found = stocks_rows(record, "replay")
            rows[found.dataset] += found.rows
        offsets: Counter[str] = Counter()
        for number, candle in enumerate(self.candles()):
            name = "candles" if candle.interval == "1m" else ROLLUP_TOPICS[candle.interval]
            offset = offsets[name]
            record = Record(candle.symbol.encode(), encode(candle), offset, KAFKA_MS + number)
            rows[name] += candle_rows(record, "replay").rows
            offsets[name] += 1
        return rows

    def candles(self) -> list[Candle]:
        """Minutes and their rollups, in the order in which they are written."""
        rules, symbols = Rules("replay"), {}
        made = []
        for offset, message in enumerate(self.messages):
            symbol = message.symbol
            if symbol not in symbols:
                symbols[symbol] = SymbolCandles(symbol, rules, Counter())
            outcome = symbols[symbol].apply(message, offset, None)
            made += [*outcome.records, *outcome.rollups]
        return made


def put(lake: LakeWriter, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows as one object of the archive; rollups have an incarnation of their own."""
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


def test_audit_finds_the_candles_of_real_trades_right_and_a_wrong_one_wrong(
    lake_settings: Callable[..., Settings], test_data: Path
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    rows = Tape(test_data / "us_equities_trades.parquet").rows()
    for name, found in rows.items():
        put(lake, name, found)
    load(settings)
    build(settings)

    report = audit(settings)

    assert report.differences == []
    assert report.differing == 0
    assert report.compared > 600
    assert report.rollups > 200
    revised = [row for row in rows["candles"] if "revised" in row]
    assert revised

    names = ROW_COLUMNS["candles"]
    wrong = dict(zip(names, rows["candles"][300], strict=True))
    wrong |= {"revision": 99, "high": wrong["high"] + 1_000, "_offset": 999_999}
    put(lake, "candles", [tuple(wrong[name] for name in names)])
    load(settings)
    build(settings)

    report = audit(settings)

    assert {d.interval for d in report.differences} == {"1m", "5m", "15m", "1h", "1d"}
    assert report.differing == 5
    assert {(d.symbol, d.field) for d in report.differences} == {(wrong["symbol"], "high")}


def test_audit_without_a_warehouse_says_what_to_do(lake_settings: Callable[..., Settings]) -> None:
    with pytest.raises(BuildFailed, match="Build the warehouse first"):
        audit(lake_settings())
