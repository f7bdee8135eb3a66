"""Measure the cost of a minute's build and of publishing, in a warehouse with a long history.

RAW is filled by SQL, then built in passes, as `tickhouse load --rebuild` does. Each measured minute
is built by a separate process, so that its CPU time and peak memory are those of one build.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from app.powerbi.gold import rows_of
from app.powerbi.queries import answer, chosen
from app.powerbi.report import PAGES
from app.settings import Settings
from app.warehouse import published
from app.warehouse.commands import build
from app.warehouse.duckdb_backend import DuckDBWarehouse
from benchmarks._memory import peak_memory_mb
from benchmarks._report import report, spread

DEFAULTS = {"days": 250, "symbols": 50, "trades": 10_000_000, "minutes": 3, "then": 0}
SESSION_MINUTES = 390
LAST_DAY = "2024-03-05"
ROLLUPS = {"5m": 5, "15m": 15, "1h": 60}

PROSE = """
RAW holds {days} session dates of {symbols} symbols with {candles:,} one-minute candles, rollups
and {trades:,} trades.

- *a minute*: the build of one more minute of every symbol with its data tests, including dbt's
  start.
- *memory*: the largest of the build's processes.
- *publishing*: writing the file that readers open, starting from the previous file; it is part of
  the minute.
- *anew*: writing the complete file, as a full build and one minute per hour do.
- *queries*: the slowest of one query per gold view.
- *report*: the slowest visual of the Power BI report, answered by the queries that DirectQuery
  would send for it.
"""
THEN = """
The second row is for the same warehouse with {then:,} trades: the additional trades were added to
RAW and silver by SQL, on the same session dates.
"""

_COUNTS = """
    3 as trade_count, 3 as eligible_count, 0 as odd_lot_count, 0 as odd_lot_volume,
    0 as zero_volume_count, 'last' as price_source, 0 as late_count, 0 as out_of_order_count,
    0 as duplicate_count, 0 as first_offset, 0 as last_offset
"""
_CANDLES = """
    insert into RAW.CANDLES by name
    with minutes as (
        select 's' || lpad(s::varchar, 3, '0') as symbol, s, d.day, m,
            d.day + interval (14 * 60 + 30 + m) minute as window_start,
            100 + s + (hash(s, d.day, m) % 1000) / 1000.0 as price
        from range({symbols}) symbols(s), (select $day::timestamp as day) d,
            range($first::bigint, $until::bigint) minutes(m)
    ),
    rolled as (
        select symbol, s, '1m' as candle_interval, 1 as width, window_start, price from minutes
        union all
        select symbol, s, i.name, i.width, window_start, price
        from minutes, (values ('5m', 5), ('15m', 15), ('1h', 60)) i(name, width)
        where m % i.width = 0 and $until - $first > 1
        union all
        select symbol, s, '1d', 1440, window_start, price from minutes where m = 0 and $until > 1
    )
    select symbol || '|' || candle_interval || '|' || epoch_ms(window_start) as candle_id, symbol,
        'replay' as feed, candle_interval, window_start,
        window_start + interval (width) minute as window_end, 'regular' as session,
        $day::date::varchar as session_date, price as open, price + 1 as high, price - 1 as low,
        price as close, window_start as open_time, window_start as high_time,
        window_start as low_time, window_start as close_time, 100 * width as volume,
        100 * width * price as notional, price as vwap, {counts}, 60000 as covered_ms,
        0 as revision, 'final' as status, 'sip' as price_rule, 1 as schema_version,
        'candles-1m.1709640000000-bbbbbbbb' as _topic_id, _topic_id as _incarnation,
        0 as _partition,
        $offset + row_number() over () as _offset, 0 as _index, window_start as _kafka_time,
        'candles' as _object, $load::bigint as _load_id, current_timestamp::timestamp as _loaded_at
    from rolled
"""
_TRADES = """
    insert into RAW.TRADES by name
    select 's' || lpad((n % {symbols})::varchar, 3, '0') as symbol, 'replay' as feed,
        'test' as source,
        'c1' as feed_connection, trade_time as received_at, trade_time, price, 100 as size,
        100 * price as notional, '' as conditions, 'regular' as session,
        $day::date::varchar as session_date, 0 as frame, 0 as frame_index, 0 as repeat_index,
        'stocks-topic.1709640000000-aaaaaaaa' as _topic_id, _topic_id as _incarnation,
        0 as _partition, $offset + n as _offset, 0 as _index, trade_time as _kafka_time,
        'trades' as _object, $load::bigint as _load_id, current_timestamp::timestamp as _loaded_at
    from (
        select n, 100 + n % 100 as price, $day::timestamp + interval (14 * 60 + 30 + $first) minute
            + interval (n * ($until - $first) * 60000 // $count) millisecond as trade_time
        from range($count::bigint) trades(n)
    )
"""
_SILVER_TRADES = """
    insert into silver.silver_trades by name
    select columns(lambda name: name not in ('frame', 'frame_index', '_object', 'broken_rule')),
        false as is_rejected, false as is_duplicate
    from bronze.bronze_trades
    where _offset between $offset and $offset + $count and session_date = $day::date
"""
_COVERAGE = """
    insert into RAW.COVERAGE by name
    select 's' || lpad(s::varchar, 3, '0') as symbol, 'replay' as feed, 'test' as source,
        moment as received_at, moment as watermark, moment as minute_start, 60000 as covered_ms,
        'stocks-topic.1709640000000-aaaaaaaa' as _topic_id, _topic_id as _incarnation,
        0 as _partition, $offset + s as _offset, 0 as _index, moment as _kafka_time,
        'coverage' as _object, $load::bigint as _load_id, current_timestamp::timestamp as _loaded_at
    from range({symbols}) symbols(s),
        (select $day::timestamp + interval (14 * 60 + 30 + $until) minute as moment)
"""
_QUERIES = {
    "candles of a symbol": "select * from gold.gold_candlestick where symbol = 's001' "
    "order by candle_time desc limit 500",
    "hours of a symbol": "select * from gold.gold_candlestick_1h where symbol = 's001' "
    "order by candle_time desc limit 500",
    "KPIs": "select * from gold.gold_kpi",
    "tree map": "select * from gold.gold_treechart",
    "gauges": "select * from gold.gold_gauge",
    "data quality": "select * from gold.gold_data_quality where session_date = "
    "(select max(session_date) from gold.gold_dates)",
    "chart": "select * from gold.gold_candlestick_chart where symbol = 's001' "
    "and candle_interval = '5m'",
}


class History:
    """A warehouse whose RAW is filled by SQL, load by load."""

    def __init__(self, settings: Settings, symbols: int) -> None:
        self.settings = settings
        self._formats = {"symbols": symbols, "counts": _COUNTS}
        self._offset = 0
        self._load = 0

    def fill(self, days: int, trades: int) -> None:
        """Load `days` weekdays, the last without its last hour, with `trades` trades in total."""
        with self._open() as db:
            for day, until in _session_dates(db, days):
                self._insert(db, day, 0, until, trades // days)
            self._ledger(db)

    def grow(self, days: int, trades: int) -> None:
        """Add `trades` trades to the `days` session dates in RAW and in silver, as if built."""
        with self._open() as db:
            (newest,) = db.execute("select max(load_id) from RAW.BUILD_LEDGER").fetchall()[0]
            for number, (day, until) in enumerate(_session_dates(db, days)):
                count = trades // days
                given = {"day": day, "offset": 20_000_000_000 + number * count, "count": count}
                minutes = {"first": 0, "until": until, "load": newest}
                db.execute(_TRADES.format(**self._formats), given | minutes)
                db.execute(_SILVER_TRADES, given)

    def minute(self, trades: int) -> None:
        """Load the next minute of the last day, after those that `fill` and this method loaded."""
        with self._open() as db:
            self._load = db.execute("select max(load_id) from RAW.LOAD_LEDGER").fetchall()[0][0]
            first = SESSION_MINUTES - 61 + self._load
            self._offset = 10_000_000_000 + 1_000_000 * self._load
            self._insert(db, LAST_DAY, first, first + 1, trades)
            self._ledger(db)

    def _insert(self, db: Any, day: str, first: int, until: int, trades: int) -> None:
        given = {"day": day, "first": first, "until": until, "load": self._load + 1}
        for statement, count in ((_CANDLES, None), (_TRADES, trades), (_COVERAGE, None)):
            more = {"offset": self._offset} | ({"count": count} if count else {})
            text = statement.format(**self._formats)
            db.execute(text, {k: v for k, v in (given | more).items() if f"${k}" in text})
            self._offset += max(trades, 1_000_000)

    def _ledger(self, db: Any) -> None:
        self._load += 1
        db.execute(
            "insert into RAW.LOAD_LEDGER by name select ? as object_key, 'candles' as dataset, "
            "'i' as incarnation, 0 as partition_number, 0 as first_offset, 0 as last_offset, "
            "1 as row_count, 'loaded' as status, ?::bigint as load_id, "
            "current_timestamp::timestamp as loaded_at",
            [f"load-{self._load}", self._load],
        )

    def _open(self) -> Any:
        DuckDBWarehouse(self.settings.warehouse_path).close()  # creates schema RAW
        return duckdb.connect(str(self.settings.warehouse_path), config={"memory_limit": "2GB"})


def _session_dates(db: Any, days: int) -> list[tuple[str, int]]:
    """Return the last `days` weekdays and their numbers of minutes; the last lacks an hour."""
    query = (
        "select day::date::varchar from range("
        "?::date - interval 3 year, ?::date + interval 1 day, interval 1 day) days(day) "
        "where dayofweek(day) between 1 and 5 order by 1"
    )
    dates = [day for (day,) in db.execute(query, [LAST_DAY, LAST_DAY]).fetchall()][-days:]
    return [(day, SESSION_MINUTES - 60 * (day == LAST_DAY)) for day in dates]


def measured(settings: Settings, step: str) -> dict[str, float]:
    """Run `step` in a separate process; return its figures and its cost."""
    code = f"from benchmarks.warehouse import {step}; {step}({str(settings.tickhouse_data_dir)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def build_first(folder: str) -> None:
    """Build all of RAW in passes, and print the cost."""
    build_once(folder, rebuild=True)


def build_once(folder: str, *, rebuild: bool = False) -> None:
    """Build what is new, and print the cost of the process and its children."""
    started = time.monotonic()
    done = build(settings_in(Path(folder)), rebuild=rebuild)
    own = resource.getrusage(resource.RUSAGE_SELF)
    dbt = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "cpu_s": own.ru_utime + own.ru_stime + dbt.ru_utime + dbt.ru_stime,
        "wall_s": time.monotonic() - started,
        "memory_mb": max(peak_memory_mb(), dbt.ru_maxrss / 1000),
        "tests": done.tests,
    }
    print(json.dumps(cost))


def publish_once(folder: str) -> None:
    """Write the tables that readers open, incrementally and from scratch; print the costs."""
    settings = settings_in(Path(folder))
    before_last, _ = sorted(published.folder(settings).glob("gold-*.duckdb"))
    with duckdb.connect(str(settings.warehouse_path), config={"memory_limit": "1GB"}) as db:
        (newest,) = db.execute("select max(load_id) from RAW.LOAD_LEDGER").fetchall()[0]
        bases = {"cpu_s": published.Basis(before_last, newest - 1), "anew_cpu_s": None}
        took = {}
        for name, basis in bases.items():
            before = time.process_time()
            published.write_tables(db, Path(folder) / "published.duckdb", basis)
            took[name] = time.process_time() - before
            (Path(folder) / "published.duckdb").unlink()
        print(json.dumps(took))


def query_once(folder: str) -> None:
    """Run each query of gold in the warehouse, measure the second run, and print the seconds."""
    settings = settings_in(Path(folder))
    took = {}
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as db:
        for name, query in _QUERIES.items():
            for _ in range(2):
                before = time.monotonic()
                db.execute(query).fetchall()
                took[name] = time.monotonic() - before
    print(json.dumps(took))


def report_once(folder: str) -> None:
    """Answer each visual of the report from gold, measure the second run, and print CPU seconds."""
    settings = settings_in(Path(folder))
    took = {}
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as db:
        for page in PAGES:
            for visual in page.visuals:
                for _ in range(2):
                    before = time.process_time()
                    answer(page, visual, chosen("s001"), lambda sql: rows_of(db, sql))
                    took[visual.key] = time.process_time() - before
    print(json.dumps(took))


def settings_in(folder: Path) -> Settings:
    """Return the settings of a warehouse in `folder`."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_feed="replay",
        tickhouse_data_dir=folder,
    )


def measure(history: History, given: argparse.Namespace, trades: int) -> tuple[list[str], Any]:
    """Measure minutes, publishing and queries; return the row and its figures."""
    settings = history.settings
    rate = max(trades // given.days // SESSION_MINUTES, given.symbols)
    builds = []
    for number in range(given.minutes + 1):
        history.minute(rate)
        cost = measured(settings, "build_once")
        print(f"minute {number}: {cost}", file=sys.stderr)
        builds += [cost] if number else []  # the first build parses the dbt project
    publishing = measured(settings, "publish_once")
    queries = measured(settings, "query_once")
    visuals = measured(settings, "report_once")
    print(f"publishing: {publishing}; queries: {queries}; report: {visuals}", file=sys.stderr)
    slowest = max(queries, key=lambda name: queries[name])
    visual = max(visuals, key=lambda name: visuals[name])
    cpu = [cost["cpu_s"] for cost in builds]
    memory = max(cost["memory_mb"] for cost in builds)
    row = [
        f"{trades:,}",
        f"{given.days} x {given.symbols}",
        f"{median(cpu):.1f}",
        f"{median(cost['wall_s'] for cost in builds):.1f}",
        f"{memory:.0f}",
        f"{publishing['cpu_s']:.2f}",
        f"{publishing['anew_cpu_s']:.2f}",
        f"{queries[slowest]:.2f} ({slowest})",
        f"{visuals[visual]:.2f} ({visual})",
    ]
    return row, {
        "cpu_s": spread(cpu),
        "memory_mb": memory,
        "publishing": publishing,
        "queries": queries,
        "report": visuals,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in DEFAULTS.items():
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--folder", type=Path, help="Keep the warehouse here, and use it again.")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        settings = settings_in(given.folder or Path(name))
        history = History(settings, given.symbols)
        if not settings.warehouse_path.exists():
            history.fill(given.days, given.trades)
            print(f"first build: {measured(settings, 'build_first')}", file=sys.stderr)
        found = [measure(history, given, given.trades)]
        if given.then:
            history.grow(given.days, given.then - given.trades)
            found.append(measure(history, given, given.then))
    report(
        "warehouse",
        "A minute's build over a long history",
        [
            "trades",
            "days and symbols",
            "a minute, CPU s",
            "a minute, s",
            "memory, MB",
            "publishing, CPU s",
            "anew, CPU s",
            "queries, s",
            "report, CPU s",
        ],
        [row for row, _ in found],
        {row[0]: figures for row, figures in found},
        (PROSE + THEN * bool(given.then))
        .format(
            days=given.days,
            symbols=given.symbols,
            trades=given.trades,
            then=given.then,
            candles=given.days * given.symbols * SESSION_MINUTES,
        )
        .strip(),
        keep=given.keep or all(getattr(given, name) == value for name, value in DEFAULTS.items()),
    )


if __name__ == "__main__":
    main()
