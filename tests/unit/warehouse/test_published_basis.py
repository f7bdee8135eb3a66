"""A published file that starts from the one before it has the rows of one that is written anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from app.settings import Settings
from app.warehouse import published
from app.warehouse.interface import Build
from app.warehouse.published import KEPT_SESSION_DATES, TABLES, Basis, write_tables
from app.warehouse.published_basis import UPDATES, basis_of, clear_basis, record_basis

FIRST = date(2024, 3, 4)
TREND = 3
"""Number of closes in the trend line of these models."""
SYMBOLS, DAYS = "AB", 4
SESSIONS = ("pre", "regular", "regular", "regular", "post")
"""Of each minute of a day."""

CANDLE_COLUMNS = (
    "symbol varchar, session_date date, session varchar, window_start timestamp, close double, "
    "trend_line double, _load_id bigint"
)
ROLLUP_COLUMNS = f"{CANDLE_COLUMNS}, candle_interval varchar, pre_volume double, post_volume double"

Candle = tuple[str, int, int, int]
"""symbol, session date and minute (both as numbers), close, which is its volume too"""
Rows = dict[str, list[tuple[Any, ...]]]

candles = st.tuples(
    st.sampled_from(SYMBOLS),
    st.integers(0, DAYS - 1),
    st.integers(0, len(SESSIONS) - 1),
    st.integers(1, 9),
)
loads = st.lists(st.lists(candles, max_size=4), min_size=2, max_size=4)


class Minute(NamedTuple):
    """A row of silver_candles, and with its interval and more volumes one of silver_rollups."""

    symbol: str
    session_date: date
    session: str
    window_start: datetime
    close: float
    trend_line: float
    load_id: int


class Models:
    """Silver's candles and gold over them, as dbt's models behave.

    A candle that a load changes gets the load's number; the trend lines after it in its session
    change as well, and keep theirs. Hours are of one session. A day is its regular session with the
    volume before and after it beside, and has the number of the newest minute of all three; its
    trend line is over several days.
    """

    def __init__(self) -> None:
        self.db = duckdb.connect()
        self.load_id = 0
        self._minutes: dict[tuple[str, int, int], tuple[int, int]] = {}
        for statement in (
            "create schema silver",
            "create schema gold",
            f"create table silver.silver_candles ({CANDLE_COLUMNS})",
            f"create table silver.silver_rollups ({ROLLUP_COLUMNS})",
            "create view gold.gold_dates as select session_date from silver.silver_candles",
            *(_view(table) for table in TABLES),
        ):
            self.db.execute(statement)

    def build(self, load: list[Candle]) -> None:
        self.load_id += 1
        for symbol, day, minute, close in load:
            self._minutes[symbol, day, minute] = close, self.load_id
        minutes: list[Minute] = []
        rollups: list[tuple[Any, ...]] = []
        for symbol, day in product(SYMBOLS, range(DAYS)):
            sessions = {session: self._session(symbol, day, session) for session in SESSIONS}
            of_day = [minute for found in sessions.values() for minute in found]
            minutes += of_day
            rollups += [(*_merged(found), "1h", None, None) for found in sessions.values() if found]
            if sessions["regular"]:
                merged = _merged(sessions["regular"])._replace(
                    window_start=_midnight(day), load_id=max(minute.load_id for minute in of_day)
                )
                beside = (sum(m.close for m in sessions[name]) for name in ("pre", "post"))
                rollups.append((*merged, "1d", *beside))
        for table, rows in (("candles", minutes), ("rollups", rollups)):
            self.db.execute(f"delete from silver.silver_{table}")
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self.db.executemany(f"insert into silver.silver_{table} values ({marks})", rows)

    def _session(self, symbol: str, day: int, session: str) -> list[Minute]:
        """The minutes of a session that there are, in their order."""
        found: list[Minute] = []
        for number, its_session in enumerate(SESSIONS):
            if its_session == session and (symbol, day, number) in self._minutes:
                close, load_id = self._minutes[symbol, day, number]
                closes = [*(minute.close for minute in found), close][-TREND:]
                start = _midnight(day) + timedelta(minutes=number)
                trend = sum(closes) / len(closes)
                found.append(Minute(symbol, start.date(), session, start, close, trend, load_id))
        return found

    def written(self, path: Path, basis: Basis | None) -> Rows:
        write_tables(self.db, path, basis)
        return rows_of(path)


def _midnight(day: int) -> datetime:
    return datetime.combine(FIRST + timedelta(days=day), datetime.min.time())


def _merged(minutes: list[Minute]) -> Minute:
    """A rollup of all minutes of a session, labelled with the session's first."""
    first, last = minutes[0], minutes[-1]
    start = datetime.combine(first.session_date, datetime.min.time())
    return last._replace(
        window_start=start + timedelta(minutes=SESSIONS.index(first.session)),
        trend_line=last.close,
        load_id=max(minute.load_id for minute in minutes),
    )


def _view(table: str) -> str:
    interval = table.removeprefix("gold_candlestick").removeprefix("_")
    known = {
        "symbol": "symbol",
        "session_date": "session_date",
        "session": "session",
        "candle_time": "window_start",
        "candle_close": "close",
        "trend_line": "trend_line",
        "feed": "'live'",
    }
    if interval == "1d":
        known |= {name: name for name in ("pre_volume", "post_volume")}
        known["trend_line"] = (
            "avg(close) over (partition by symbol order by window_start "
            f"rows between {TREND - 1} preceding and current row)"
        )
    source = f"silver.silver_rollups where candle_interval = '{interval}'"
    if table not in KEPT_SESSION_DATES or not interval:
        source = "silver.silver_candles"
    columns = list(TABLES[table])
    if table not in KEPT_SESSION_DATES:
        source = (
            "(select symbol, session_date, count(*) as candle_count from silver.silver_candles "
            "group by all)"
        )
        known = {name: name for name in ("symbol", "session_date", "candle_count")}
    if table == "gold_quarantine":
        known |= {"event_time": "null::timestamp", "loaded_at": "null::timestamp"}
        columns.append("is_resolved")
    listed = ", ".join(f"{known.get(name, 'null')} as {name}" for name in columns)
    return f"create view gold.{table} as select {listed} from {source}"


def rows_of(path: Path) -> Rows:
    with duckdb.connect(str(path), read_only=True) as file:
        return {table: sorted(file.table(f"gold.{table}").fetchall(), key=repr) for table in TABLES}


@given(loads=loads)
@example(
    loads=[[("A", 0, 1, 5), ("A", 1, 1, 5)], [("A", 0, 4, 2)], [("A", 0, 0, 3)]]
)  # beside a day
@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
def test_a_file_from_the_one_before_equals_one_that_is_written_anew(
    loads: list[list[Candle]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, models, basis = tmp_path_factory.mktemp("files"), Models(), None
    for load in loads:
        models.build(load)
        path = folder / f"{models.load_id}.duckdb"

        assert models.written(path, basis) == models.written(folder / "anew.duckdb", None)

        basis = Basis(path, models.load_id)


def test_a_file_from_the_one_before_keeps_what_did_not_change(tmp_path: Path) -> None:
    models, first = Models(), tmp_path / "1.duckdb"
    models.build([("A", 0, 0, 1), ("B", 0, 0, 1)])
    models.written(first, None)
    with duckdb.connect(str(first)) as file:
        file.execute("update gold.gold_candlestick set feed = 'kept'")
    models.build([("A", 0, 1, 2)])

    assert write_tables(models.db, tmp_path / "2.duckdb", Basis(first, 1))

    found = rows_of(tmp_path / "2.duckdb")
    feed = TABLES["gold_candlestick"].index("feed")
    assert [(row[0], row[feed]) for row in found["gold_candlestick"]] == [
        ("A", "kept"),
        ("A", "live"),
        ("B", "kept"),
    ]


def test_a_basis_that_cannot_be_read_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models, broken = Models(), tmp_path / "1.duckdb"
    models.build([("A", 0, 0, 1)])
    broken.write_bytes(b"no database" * 1000)

    with caplog.at_level(logging.WARNING):
        started_from_it = write_tables(models.db, tmp_path / "2.duckdb", Basis(broken, 1))

    assert not started_from_it
    assert len(rows_of(tmp_path / "2.duckdb")["gold_candlestick"]) == 1
    assert "1.duckdb is no basis for 2.duckdb" in caplog.text


def test_a_file_that_starts_from_others_does_not_grow(tmp_path: Path) -> None:
    models, basis, sizes = Models(), None, []
    models.build([("A", 0, minute, 1) for minute in range(len(SESSIONS))])
    for number in range(UPDATES // 3):
        models.build([("A", 0, number % len(SESSIONS), number)])
        path = tmp_path / f"{number % 2}.duckdb"
        write_tables(models.db, path, basis)
        basis = Basis(path, models.load_id)
        sizes.append(path.stat().st_size)

    assert max(sizes) <= 2 * sizes[0]


BUILT_AT = datetime(2024, 3, 5, 15, tzinfo=UTC)


def built(load_id: int, minute: int) -> Build:
    moment = BUILT_AT + timedelta(minutes=minute)
    return Build(load_id, moment, moment, "built", "project", "")


@pytest.fixture
def warehouse(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]


@pytest.fixture
def files(warehouse: Settings) -> Iterator[Path]:
    """Each next file, to which readers are pointed."""

    def paths() -> Iterator[Path]:
        while True:
            path = published.next_path(warehouse)
            path.write_bytes(b"gold")
            published.point_to(path)
            yield path

    return paths()


def test_the_file_of_the_last_build_is_the_basis_of_the_next(
    warehouse: Settings, files: Iterator[Path]
) -> None:
    assert basis_of(warehouse, built(1, 0)) is None
    path = next(files)
    record_basis(warehouse, path, built(1, 0), is_update=False)

    assert basis_of(warehouse, built(1, 0)) == Basis(path, 1)


def test_a_file_is_no_basis_after_anything_but_its_own_build(
    warehouse: Settings, files: Iterator[Path]
) -> None:
    record_basis(warehouse, next(files), built(1, 0), is_update=False)

    assert basis_of(warehouse, None) is None  # a new warehouse
    assert basis_of(warehouse, built(1, 1)) is None  # of a load that was built again
    next(files)  # a build that ended between the pointer and the ledger
    assert basis_of(warehouse, built(1, 0)) is None


def test_a_basis_that_is_cleared_is_none(warehouse: Settings, files: Iterator[Path]) -> None:
    record_basis(warehouse, next(files), built(1, 0), is_update=False)
    clear_basis(warehouse)

    assert basis_of(warehouse, built(1, 0)) is None


def test_a_basis_of_another_version_is_none(
    warehouse: Settings, files: Iterator[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_basis(warehouse, next(files), built(1, 0), is_update=False)
    with monkeypatch.context() as patched:
        other = tmp_path / "published.py"
        other.write_text(Path(published.__file__).read_text().replace("changed.first_time", "1"))
        patched.setattr(published, "__file__", str(other))
        assert basis_of(warehouse, built(1, 0)) is None
    assert basis_of(warehouse, built(1, 0)) is not None

    (published.folder(warehouse) / "basis.json").write_text("{}")
    assert basis_of(warehouse, built(1, 0)) is None


def test_a_file_is_written_anew_after_many_that_started_from_one_another(
    warehouse: Settings, files: Iterator[Path]
) -> None:
    basis, started = None, 0
    for number in range(UPDATES + 2):
        path, build = next(files), built(number, number)
        record_basis(warehouse, path, build, is_update=basis is not None)
        basis = basis_of(warehouse, build)
        started += basis is not None

    assert started == UPDATES + 1


def test_a_file_that_was_written_anew_starts_the_count_again(
    warehouse: Settings, files: Iterator[Path]
) -> None:
    for number in range(UPDATES):
        record_basis(warehouse, next(files), built(number, number), is_update=number > 0)
    record_basis(warehouse, next(files), built(UPDATES, UPDATES), is_update=False)
    record_basis(warehouse, next(files), built(UPDATES + 1, UPDATES + 1), is_update=True)

    assert basis_of(warehouse, built(UPDATES + 1, UPDATES + 1)) is not None
