"""Published gold: the small, immutable DuckDB file of the last build that readers open.

DuckDB allows one process to have a database open for writing, so readers never open the warehouse
itself. Each build writes a new file to `published/` beside the warehouse, and then replaces the
one-line pointer `current`, which holds the file's name. Readers open that file read-only, and
reopen when the pointer names another. The last two files are kept; on Linux and macOS an open file
stays readable even after it is deleted. A file that starts as a copy of the one before it
(`app.warehouse.published_basis`) has the same rows as one that is written anew, in another order.

The file holds one schema, `gold`, with the tables and columns of `TABLES`. Times are TIMESTAMP in
UTC without a zone, except `exchange_time`; `session_date` is a DATE, numbers are DOUBLE or BIGINT.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from app.outputs import write_atomically
from app.settings import Settings
from app.warehouse.sql import text_literal

log = logging.getLogger("tickhouse.build")

POINTER = "current"
KEPT = 2

_CANDLE = (
    "symbol",
    "candle_time",  # start of the window; [start, end)
    "candle_end",
    "candle_low",
    "candle_high",
    "candle_open",
    "candle_close",
    "trend_line",  # mean of the session's last 20 closes, including this one
    "volume",
    "traded_value",  # sum of price times size
    "vwap",  # null at volume 0
    "trade_count",
    "eligible_count",
    "odd_lot_count",
    "odd_lot_volume",
    "zero_volume_count",
    "late_count",
    "duplicate_count",
    "covered_ms",  # ms the feed was connected; null: not reported
    "price_source",  # last, high_low, ineligible, quote
    "session",  # pre, regular, post, closed, continuous
    "session_date",
    "revision",  # 0 is the final candle; null of a partial rollup
    "status",  # final, revised; a rollup that is merged until the stream's is loaded: partial
    "feed",  # live, simulated, replay
)
_ROLLUP = (*_CANDLE, "minute_count")
_LOCAL = "exchange_time"  # candle_time in New York, or in UTC for continuous trading

TABLES: dict[str, tuple[str, ...]] = {
    "gold_candlestick": (*_CANDLE, _LOCAL),
    "gold_candlestick_5m": (*_ROLLUP, _LOCAL),
    "gold_candlestick_15m": (*_ROLLUP, _LOCAL),
    "gold_candlestick_1h": (*_ROLLUP, _LOCAL),
    "gold_candlestick_1d": (*_ROLLUP, "pre_volume", "post_volume", _LOCAL),
    # one row per symbol, of its newest session_date
    "gold_kpi": (
        "symbol",
        "current_price",  # newest of final close and quote
        "price_basis",  # candle, quote
        "change_amount",
        "change_percent",
        "change_basis",  # previous_close, session_open
        "reference_price",  # what the change is measured from
        "day_open",
        "day_high",
        "day_low",
        "volume",
        "vwap",
        "traded_value",
        "trade_count",
        "candle_count",
        "as_of",  # time of current_price
        "staleness_s",  # newest loaded watermark of any symbol minus as_of
        "watermark",  # newest loaded of this symbol
        "session",
        "session_date",
        "feed",
    ),
    # one row per symbol, of its newest session_date
    "gold_treechart": (
        "symbol",
        "sector",
        "avg_price",  # the session date's vwap
        "current_price",
        "volatility",  # percent; null under 10 one-minute returns
        "relative_volatility",  # volatility over the median of all symbols
        "return_count",
        "volume",
        "traded_value",
        "change_percent",
        "session",
        "session_date",
        "feed",
    ),
    # one row per symbol, and one with symbol * (not a valid symbol) for all symbols of each class
    "gold_gauge": (
        "symbol",
        "symbol_class",  # us_stock, crypto, forex, future, other
        "volume",  # null of a class other than us_stock: units differ
        "sales",  # traded value
        "typical_volume",  # median of up to 20 earlier session dates up to the same minute, or null
        "typical_sales",
        "typical_days",  # number of session dates that typical_* is taken from
        "relative_volume",  # volume / typical_volume; null without history
        "gauge_max",  # 2 x typical_volume; without history the largest so far
        "gauge_max_sales",
        "as_of",  # end of the newest candle
        "session_date",
        "feed",
    ),
    # one row per symbol and session_date
    "gold_data_quality": (
        "symbol",
        "session_date",
        "candle_count",
        "trade_count",  # rows of the archive, including duplicates and rejected ones
        "duplicate_count",
        "rejected_count",
        "quarantined_count",  # rows of the archive that break a rule; see gold_quarantine
        "late_count",
        "out_of_order_count",
        "revision_count",
        "covered_share",  # of its candles' minutes, 0 to 1; null: not reported
        "load_lag_s",  # median of the candles: from Kafka to the warehouse
        "load_lag_max_s",
        "feed",
    ),
    # one row per row of the archive that breaks a rule and is in no other table, unresolved ones of
    # the last days
    "gold_quarantine": (
        "dataset",
        "symbol",
        "candle_interval",
        "event_time",
        "session_date",
        "reason",  # name of the rule
        "content",
        "object_key",
        "loaded_at",
    ),
}

KEPT_SESSION_DATES = {
    "gold_candlestick": 2,
    "gold_candlestick_5m": 5,
    "gold_candlestick_15m": 10,
    "gold_candlestick_1h": 30,
    "gold_candlestick_1d": 260,
}
"""Number of session dates with candles per symbol in the file; other tables have all of them."""

_KEPT = """
with newest as (
    select symbol, session_date from {schema}.gold_data_quality
    where candle_count > 0
    qualify row_number() over (partition by symbol order by session_date desc) <= {count}
),
kept as (select symbol, min(session_date) as since from newest group by symbol)
"""
_JOIN_KEPT = " left join kept on rows_of.symbol = kept.symbol"
# A bound of all symbols lets the scan skip history, which a bound of each symbol does not.
_IS_KEPT = """(
    rows_of.session_date >= coalesce(kept.since, date '1970-01-01')
    and rows_of.session_date >= coalesce((select min(since) from kept), date '1970-01-01')
)"""
_IS_CHANGED = "rows_of.symbol = changed.symbol and rows_of.candle_time >= changed.first_time"
_NEWEST_FIRST = "loaded_at desc, symbol, event_time"
_SHOWN_QUARANTINE = (
    " where not is_resolved and coalesce(session_date >="
    " (select max(session_date) from {schema}.gold_dates) - 4, true)"
    f" qualify row_number() over (order by {_NEWEST_FIRST}) <= 1000"
)
"""Of gold_quarantine: rows of the newest session dates, up to a long weekend."""


def folder(settings: Settings) -> Path:
    """The folder of this namespace's published files."""
    return settings.warehouse_path.parent / "published"


def current_path(settings: Settings) -> Path | None:
    """The file of the last successful build, or None before the first.

    Open it read-only (`duckdb.connect(path, read_only=True)`) and call this again periodically:
    each build has a new file.
    """
    try:
        name = (folder(settings) / POINTER).read_text().strip()
    except FileNotFoundError:
        return None
    path = folder(settings) / name
    return path if name and path.exists() else None


class Basis(NamedTuple):
    """A published file that the next one starts from."""

    path: Path
    load_id: int
    """Gold has changed since by what later loads brought, and by nothing else."""


def write_tables(warehouse: Any, path: Path, basis: Basis | None = None) -> bool:
    """Write the tables of gold to a new, checkpointed DuckDB file at `path`.

    :param warehouse: an open DuckDB connection.
    :param basis: a file to copy, of whose candles only the changed ones are written; without it,
        or if DuckDB cannot read it, all tables are written anew.
    :returns: whether the file started from `basis`.
    """
    if basis is not None:
        try:
            shutil.copyfile(basis.path, path)
            _write(warehouse, path, basis)
            return True
        except (OSError, duckdb.Error) as error:
            log.warning("%s is no basis for %s: %s Writing it anew.", basis.path, path.name, error)
    path.unlink(missing_ok=True)
    _write(warehouse, path, None)
    return False


def _write(warehouse: Any, path: Path, basis: Basis | None) -> None:
    try:
        warehouse.execute(f"attach {text_literal(str(path))} as published")
        try:
            warehouse.execute("create schema if not exists published.gold")
            for table, columns in TABLES.items():
                if basis is not None and table in KEPT_SESSION_DATES:
                    _update_candles(warehouse, table, columns, basis.load_id)
                else:
                    warehouse.execute(
                        f"create or replace table published.gold.{table} as "
                        f"{selection(table, columns)}"
                    )
            warehouse.execute("checkpoint published")
        finally:
            warehouse.execute("detach published")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _update_candles(warehouse: Any, table: str, columns: tuple[str, ...], load_id: int) -> None:
    """Bring a table of candles up to date with the loads after `load_id`.

    In silver a row that changed has the number of a later load, or, if only its trend line did,
    follows such a row of its symbol. So each symbol's candles are replaced from its first new one.
    """
    interval = table.removeprefix("gold_candlestick").removeprefix("_")
    silver = (
        f"silver_rollups where candle_interval = '{interval}'"
        if interval
        else "silver_candles where true"
    )
    warehouse.execute(
        "create or replace temporary table changed as select symbol, min(window_start) as "
        "first_time, min(session_date) as first_date "
        f"from SILVER.{silver} and _load_id > {load_id} group by symbol"
    )
    target = f"published.gold.{table} as rows_of"
    (first_date,) = warehouse.execute("select min(first_date) from changed").fetchall()[0]
    if first_date is not None:
        warehouse.execute(f"delete from {target} using changed where {_IS_CHANGED}")
        listed = ", ".join(f"rows_of.{column}" for column in columns)
        # the bound lets the scan skip history
        warehouse.execute(
            f"insert into published.gold.{table} select {listed} from GOLD.{table} as rows_of "
            f"inner join changed on {_IS_CHANGED} where rows_of.session_date >= date '{first_date}'"
        )
    kept = _KEPT.format(schema="GOLD", count=KEPT_SESSION_DATES[table])
    warehouse.execute(
        f"{kept} delete from published.gold.{table} where rowid in "
        f"(select rows_of.rowid from {target}{_JOIN_KEPT} where not {_IS_KEPT})"
    )


def selection(table: str, columns: tuple[str, ...], database: str | None = None) -> str:
    """The query for the rows of a gold table that readers need, in the order most queries use."""
    schema = f"{database}.GOLD" if database else "GOLD"
    select = f"select {', '.join(f'rows_of.{column}' for column in columns)}"
    source = f" from {schema}.{table} as rows_of"
    if table == "gold_quarantine":
        shown = _SHOWN_QUARANTINE.format(schema=schema)
        return f"{select}{source}{shown} order by {_NEWEST_FIRST}"
    moment = "candle_time" if "candle_time" in columns else "session_date"
    keys = [column for column in ("symbol", "symbol_class", moment) if column in columns]
    order = f" order by {', '.join(f'rows_of.{column}' for column in keys)}"
    if table not in KEPT_SESSION_DATES:
        return select + source + order
    kept = _KEPT.format(schema=schema, count=KEPT_SESSION_DATES[table])
    return f"{kept}{select}{source}{_JOIN_KEPT} where {_IS_KEPT}{order}"


def point_to(path: Path) -> None:
    """Point readers to `path`, and delete all but the last `KEPT` files."""
    write_atomically(path.parent / POINTER, f"{path.name}\n")
    for old in _files(path.parent)[:-KEPT]:
        old.unlink()


def next_path(settings: Settings) -> Path:
    """A path that no published file has used."""
    there = _files(folder(settings))
    number = int(there[-1].stem.removeprefix("gold-")) + 1 if there else 1
    folder(settings).mkdir(parents=True, exist_ok=True)
    return folder(settings) / f"gold-{number:012d}.duckdb"


def _files(directory: Path) -> list[Path]:
    """The published files in `directory`, oldest first."""
    return sorted(directory.glob("gold-*.duckdb"))
