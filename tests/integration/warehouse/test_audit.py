"""The audit: SQL makes the candles of real trades again and finds what the application made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.contracts import Candle, Trades, encode
from app.feeds.replay_messages import messages
from app.feeds.tradefile import read_trades
from app.lake import DATASETS, ObjectKey
from app.settings import Settings
from app.warehouse.audit import SEED, audit, conditions_csv
from app.warehouse.commands import build, load
from app.warehouse.transform import BuildFailed
from sinks.rows import ROW_COLUMNS, candle_rows, stocks_rows
from tests.integration.warehouse.lake_writer import LIVES, LakeWriter
from topologies.candle import Rules, SymbolCandles

KAFKA_MS = 1_709_640_000_000
SYMBOLS = ("AIG", "IBM")


@dataclass
class Record:
    key: bytes
    value: bytes
    offset: int

    @property
    def timestamp(self) -> int:
        return KAFKA_MS + self.offset


class Tape:
    """Real trades as messages, late ones and repeats among them, and the candles they make."""

    def __init__(self, file: Path) -> None:
        trades = (t for t in read_trades(file).interleaved() if t.symbol in SYMBOLS)
        sent = list(messages(islice(trades, 60_000), "replay", 5_000, 900_000))
        place = {i: i + 300 if i % 100 == 0 else i for i, _ in enumerate(sent)}
        late = [sent[i] for i in sorted(place, key=lambda i: (place[i], i))]
        repeats = [message for message in late[:5_000] if isinstance(message, Trades)][::50]
        self.messages = [*late[:5_000], *repeats, *late[5_000:]]

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Rows of the lake, by dataset, as the archive makes them."""
        rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        made = self.candles()
        for offset, message in enumerate(self.messages):
            found = stocks_rows(Record(message.symbol.encode(), encode(message), offset), "replay")
            rows[found.dataset] += found.rows
        for offset, candle in enumerate(made):
            record = Record(candle.symbol.encode(), encode(candle), offset)
            rows["candles"] += candle_rows(record, "replay").rows
        return rows

    def candles(self) -> list[Candle]:
        rules, symbols = Rules("replay"), {}
        made = []
        for offset, message in enumerate(self.messages):
            symbol = message.symbol
            if symbol not in symbols:
                symbols[symbol] = SymbolCandles(symbol, rules, Counter())
            made += symbols[symbol].apply(message, offset, None).records
        return made


def put(lake: LakeWriter, dataset: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows of the archive as one object."""
    names = ROW_COLUMNS[dataset]
    life = LIVES[dataset]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    count = len(columns["_offset"])
    columns |= {"_topic_id": [life] * count, "_life": [life] * count, "_partition": [0] * count}
    schema = DATASETS[dataset]
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    key = ObjectKey(dataset, life, 0, columns["_offset"][0], columns["_offset"][-1])
    lake.put_table(key, pa.Table.from_arrays(arrays, schema=schema))


def test_audit_finds_the_candles_of_real_trades_right_and_a_wrong_one_wrong(
    lake_settings: Callable[..., Settings], test_data: Path
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    rows = Tape(test_data / "us_equities_trades.parquet").rows()
    for dataset, found in rows.items():
        put(lake, dataset, found)
    load(settings)
    build(settings)

    report = audit(settings)

    assert report.differences == []
    assert report.differing == 0
    assert report.compared > 600
    revised = [row for row in rows["candles"] if "revised" in row]
    assert revised

    names = ROW_COLUMNS["candles"]
    wrong = dict(zip(names, rows["candles"][300], strict=True))
    wrong |= {"revision": 99, "high": wrong["high"] + Decimal("0.01"), "_offset": 999_999}
    put(lake, "candles", [tuple(wrong[name] for name in names)])
    load(settings)
    build(settings)

    report = audit(settings)

    assert report.differing == 1
    assert (report.differences[0].symbol, report.differences[0].field) == (wrong["symbol"], "high")


def test_audit_without_a_warehouse_says_what_to_do(lake_settings: Callable[..., Settings]) -> None:
    with pytest.raises(BuildFailed, match="Build the warehouse first"):
        audit(lake_settings())


def test_seed_of_conditions_is_in_step_with_the_rules() -> None:
    assert SEED.read_text() == conditions_csv()
