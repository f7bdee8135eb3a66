"""Build candles from trade files, with the topology's core and without Kafka."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from app.contracts import ROLLUP_TOPICS, Candle, FeedName, Interval, Message, Rejection
from app.errors import TickhouseError
from app.feeds.replay.file_set import (
    MAX_BAD_SHARE,
    MAX_LATE_SHARE,
    bad_share,
    describe,
    open_files,
    warn_of_sessions,
)
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import TradeFile, all_trades
from app.feeds.replay.trade_files.options import ReadOptions
from app.lake import DATASETS, RENAMED
from app.outputs import OutputError, check_output, replacing
from app.settings import Settings
from topologies.core.candle import Rules, SymbolCandles
from topologies.runtime.counters import format_counters

logger = logging.getLogger(__name__)

FEED: FeedName = "replay"
_FIELD = {column: field for field, column in RENAMED["candles"].items()}
_UTC = pa.timestamp("ms", "UTC")
SCHEMA = pa.schema(
    [
        pa.field(
            _FIELD.get(column.name, column.name),
            _UTC if pa.types.is_timestamp(column.type) else column.type,
        )
        for column in DATASETS["candles"]
        if not column.name.startswith("_")
    ]
)
"""One row per revision, with the candle columns of the lake. Unlike in the lake, times are marked
as UTC."""
ENDINGS = (".parquet", ".csv")
ROWS_A_WRITE = 10_000
INTERVALS: tuple[Interval, ...] = ("1m", *ROLLUP_TOPICS)

_fields = attrgetter(*SCHEMA.names)


class BackfillError(TickhouseError):
    """Wrong use of `tickhouse backfill`."""

    exit_code = 2


class Backfill:
    """Applies messages, in order, to the candles of their symbols, and counts rejected trades."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._symbols: dict[str, SymbolCandles] = {}
        self.counters: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()

    def records(self, messages: Iterable[Message], interval: Interval = "1m") -> Iterator[Candle]:
        """Yield every record that the topic of `interval` would receive, revisions included."""
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
    options: ReadOptions | None = None,
    force: bool = False,
) -> None:
    """Write the candles of `files`, read in this order, to `out`.

    :param out: a path that ends in .parquet or .csv; the ending decides the format.
    :param interval: the candles' interval. A file of rollups includes partial candles, as their
        topic does.
    :param options: how to read the files; by default this is detected.
    :param force: replace an existing file.
    :raises TickhouseError: a file cannot be read or is not ordered by time; `out` is one of the
        files, exists or cannot be written; or the rule or the interval is unknown. `out` is then
        unchanged. Also raised after `out` was written if a large share of the trades was rejected
        as late or a large share of the rows could not be read.
    """
    wanted = _interval(interval)
    check_output("--out", out, [*files, *settings.protected_files])
    _check_may_write(out, force)
    rules = Rules(
        FEED,
        _checked(price_rule or settings.candle_price_rule),
        settings.candle_grace_ms,
        settings.candle_allowed_lateness_ms,
    )
    grace_ms, lateness_ms = settings.candle_grace_ms, settings.candle_allowed_lateness_ms
    read = open_files(files, options or ReadOptions(), grace_ms, lateness_ms)
    warn_of_sessions(read)
    backfill = Backfill(rules)
    backfill.counters["rounded_number"] += sum(file.counts.rounded for file in read)
    trades = messages(all_trades(read), FEED, grace_ms, lateness_ms)
    written = write(_shown(backfill.records(trades, wanted), read), out)
    _summarize(backfill, read, out, written)


def _summarize(backfill: Backfill, read: list[TradeFile], out: Path, written: int) -> None:
    rows = sum(file.rows for file in read)
    rejected = sum(backfill.rejections.values())
    counters = +backfill.counters
    for file in read:
        print(describe(file))
    print(
        f"{out}: {written} records of candles from {rows} trades; "
        f"{rejected} trades rejected as late, {sum(file.bad_count for file in read)} rows were not "
        "trades" + (f"; counted: {format_counters(counters)}" if counters else "")
    )
    if rejected > MAX_LATE_SHARE * rows:
        raise TickhouseError(
            f"{rejected} of {rows} trades were rejected as late: they are more than "
            f"CANDLE_ALLOWED_LATENESS_MS behind the newest of their symbol. {out} lacks them. Sort "
            "the trades by time with --sort."
        )
    if bad_share(read) > MAX_BAD_SHARE:
        raise TickhouseError(
            f"Most rows of {', '.join(str(file.path) for file in read)} were not trades; {out} "
            "lacks them. Name the right columns with --map, or the --format."
        )


def write(records: Iterable[Candle], out: Path) -> int:
    """Write candles to `out` atomically; return their number.

    :raises TickhouseError: `out` cannot be written; it is unchanged.
    """
    count = 0
    try:
        with replacing(out) as temporary, _writer(out, temporary) as file:
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


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...


@contextmanager
def _writer(out: Path, file: BinaryIO) -> Iterator[_Writer]:
    writer: Any = (
        pa.csv.CSVWriter(file, SCHEMA)
        if out.suffix.lower() == ".csv"
        else pq.ParquetWriter(file, SCHEMA, compression="zstd")
    )
    with writer:
        yield writer


def _check_may_write(out: Path, force: bool) -> None:
    """Check that the ending of `out` names a format, and that it may be replaced if it exists."""
    if out.suffix.lower() not in ENDINGS:
        raise OutputError(
            f"--out {out}: the ending decides the format of the candles; it is "
            f"{' or '.join(ENDINGS)}."
        )
    if not force and out.exists() and out.stat().st_size > 0:
        raise OutputError(
            f"--out {out} exists; it is not overwritten. Name another file, or replace it with "
            "--force."
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
