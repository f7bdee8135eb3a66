"""Recorded trades as objects of the lake: messages, and the candles that the application makes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from app.contracts import ROLLUP_TOPICS, Candle, Message, RejectionRecord, Trades, Watermark, encode
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from app.lake import DATASETS, ObjectKey
from app.rejection_records import MessageOrigin, rejection_records
from sinks.rows import ROW_COLUMNS, candle_rows, rejection_rows, stocks_rows
from tests.integration.warehouse.lake_writer import INCARNATIONS, STOCKS_INCARNATION, LakeWriter
from topologies.core.candle import Rules, SymbolCandles

DAY_MS = 86_400_000
KAFKA_MS = 1_709_640_000_000


@dataclass
class AuditRecord:
    key: bytes
    value: bytes
    offset: int
    timestamp: int


class TradeStream:
    """Messages of real trades, with late and repeated ones, and the candles made of them."""

    def __init__(self, file: Path, symbols: Collection[str], trades: int) -> None:
        read = (t for t in read_trades(file).interleaved() if t.symbol in symbols)
        sent = list(messages(islice(read, trades), "replay", 5_000, 900_000))
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
