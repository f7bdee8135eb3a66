"""Build candles from trade files, with the topology's core and without Kafka."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from app.contracts import ROLLUP_TOPICS, Candle, FeedName, Interval, Message, Rejection
from app.errors import TickhouseError
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import TradeFile, read_trades
from app.lake import DATASETS
from app.outputs import OutputError, check_output, replacing
from app.settings import Settings
from topologies.core.candle import Rules, SymbolCandles
from topologies.runtime.counters import format_counters

logger = logging.getLogger(__name__)

FEED: FeedName = "replay"
SCHEMA = pa.schema([field for field in DATASETS["candles"] if not field.name.startswith("_")])
"""One row per revision: the candle's columns of the lake, with the same types."""
KEY_COLUMNS = {"symbol", "interval", "window_start", "revision"}
"""Columns by which a file is recognized as one of candles."""
ROWS_A_WRITE = 10_000
INTERVALS: tuple[Interval, ...] = ("1m", *ROLLUP_TOPICS)

_fields = attrgetter(*SCHEMA.names)


class BackfillError(TickhouseError):
    """Wrong use of `tickhouse backfill`."""

    exit_code = 2


class Backfill:
    """Applies messages, in order, to the candles of their symbols; counts rejected trades."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._symbols: dict[str, SymbolCandles] = {}
        self.counters: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()

    def records(self, messages: Iterable[Message], interval: Interval = "1m") -> Iterator[Candle]:
        """Yield every record that the interval's topic would get, revisions included."""
        for offset, message in enumerate(messages):
            symbol = message.symbol
            candles = self._symbols.get(symbol)
            if candles is None:
                candles = self._symbols[symbol] = SymbolCandles(symbol, self._rules, self.counters)
            outcome = candles.apply(message, offset, None)
            self._count(outcome.rejections)
            made = outcome.records if interval == "1m" else outcome.rollups
            yield from (candle for candle in made if candle.interval == interval)

    def _count(self, rejections: list[Rejection]) -> None:
        for rejection in rejections:
            self.rejections[rejection.reason] += len(rejection.indices or (0,))


def run(
    settings: Settings,
    files: list[Path],
    out: Path,
    price_rule: str | None,
    interval: str = "1m",
) -> None:
    """Write the candles of `files`, read one after the other, to `out`.

    :param interval: of the candles; a file of rollups contains partials too, as their topic does.
    :raises TickhouseError: a file cannot be read, `out` is one of them, contains something else
        than candles or cannot be written, or rule or interval are unknown. `out` is unchanged then.
    """
    check_output("--out", out, [*files, *settings.protected_files])
    _check_holds_candles(out)
    wanted = _interval(interval)
    rules = Rules(
        FEED,
        _checked(price_rule or settings.candle_price_rule),
        settings.candle_grace_ms,
        settings.candle_horizon_ms,
    )
    read = [read_trades(path) for path in files]
    for file in read:
        for bad in file.bad_rows:
            logger.warning("%s: %s; the row is left out", file.path, bad.reason)
    trades = chain.from_iterable(read)
    backfill = Backfill(rules)
    records = backfill.records(
        messages(trades, FEED, settings.candle_grace_ms, settings.candle_horizon_ms), wanted
    )
    written = write(_shown(records, read), out)
    left_out = sum(file.bad_count for file in read)
    rejected = sum(backfill.rejections.values())
    print(
        f"{out}: {written} records of candles from {sum(file.rows for file in read)} trades; "
        f"{rejected} trades rejected as late, {left_out} rows were not trades"
        + (f"; counted: {format_counters(backfill.counters)}" if backfill.counters else "")
    )


def write(records: Iterable[Candle], out: Path) -> int:
    """Write candles to `out` atomically; return their number.

    :raises TickhouseError: `out` cannot be written; it is unchanged.
    """
    count = 0
    try:
        with (
            replacing(out) as temporary,
            pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as file,
        ):
            for rows in _batches(records):
                columns = [list(column) for column in zip(*rows, strict=True)]
                arrays = [
                    pa.array(column, field.type)
                    for column, field in zip(columns, SCHEMA, strict=True)
                ]
                file.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
                count += len(rows)
    except OSError as error:
        raise TickhouseError(
            f"{out} cannot be written: {error.strerror or error}; what was there is unchanged. "
            "Make room, or choose another --out."
        ) from None
    return count


def _check_holds_candles(out: Path) -> None:
    """Check that `out` does not exist, is empty, or was written by this command."""
    if not out.exists() or out.stat().st_size == 0:
        return
    try:
        is_ours = set(pq.read_schema(out).names) >= KEY_COLUMNS
    except (pa.ArrowException, OSError):
        is_ours = False
    if not is_ours:
        raise OutputError(
            f"--out {out} exists and holds no candles; it is not overwritten. Remove it, or name "
            "another file."
        )


def _batches(records: Iterable[Candle]) -> Iterator[list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = []
    for candle in records:
        rows.append(_fields(candle))
        if len(rows) == ROWS_A_WRITE:
            yield rows
            rows = []
    if rows:
        yield rows


def _shown(records: Iterable[Candle], files: list[TradeFile]) -> Iterable[Candle]:
    """Iterate over `records` with a progress bar on a terminal."""
    console = Console(stderr=True)
    names = ", ".join(file.path.name for file in files)
    return track(records, f"candles of {names}", console=console, disable=not console.is_terminal)


def _interval(name: str) -> Interval:
    for interval in INTERVALS:
        if interval == name:
            return interval
    raise BackfillError(f"--interval {name} is unknown; it is {', '.join(INTERVALS)}.")


def _checked(price_rule: str) -> Literal["sip", "all"]:
    match price_rule:
        case "sip" | "all":
            return price_rule
    raise BackfillError(f"--price-rule {price_rule} is unknown; it is sip or all.")
