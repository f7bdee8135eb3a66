"""DuckDB backend of the warehouse. Open it under the lock, and close it before dbt runs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from app.lake import DATASETS
from app.warehouse.interface import (
    RELISTED_KEYS,
    Build,
    FetchedObject,
    LakeObject,
    PartitionFolder,
    WarehouseError,
)
from app.warehouse.published import write_tables
from app.warehouse.raw import LOAD_LEDGER, setup_statements, table_of

log = logging.getLogger("tickhouse.warehouse")

DATABASE = "STOCKS"
MEMORY_LIMIT = "1GB"
"""Operations that need more use temporary files beside the warehouse."""


class DuckDBWarehouse:
    """`Warehouse` in a DuckDB file, whose stem is the database's name."""

    def __init__(self, path: Path) -> None:
        if path.stem != DATABASE:
            raise WarehouseError(
                f"DUCKDB_PATH {path} must end in {DATABASE}.duckdb: the file's name is the name "
                "of the database that the models use."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = duckdb.connect(path, config={"memory_limit": MEMORY_LIMIT})
        except duckdb.Error as error:
            raise WarehouseError(
                f"The warehouse {path} (DUCKDB_PATH) cannot be opened: {_first_line(error)} Close "
                "other programs that have it open, or correct the path."
            ) from None
        for statement in setup_statements():
            self._db.execute(statement)

    def loaded_keys(self) -> dict[PartitionFolder, list[str]]:
        rows = self._db.execute(
            f"select dataset, incarnation, partition_number, max(object_key, {RELISTED_KEYS}) "
            "from RAW.LOAD_LEDGER group by all"
        ).fetchall()
        return {
            PartitionFolder(dataset, incarnation, part): sorted(keys)
            for dataset, incarnation, part, keys in rows
        }

    def not_loaded(self, objects: Sequence[LakeObject]) -> list[LakeObject]:
        self._db.register("listed", pa.table({"key": [str(item.key) for item in objects]}))
        rows = self._db.execute(
            "select key from listed where key in (select object_key from RAW.LOAD_LEDGER)"
        ).fetchall()
        self._db.unregister("listed")
        known = {key for (key,) in rows}
        return [item for item in objects if str(item.key) not in known]

    def load(self, batch: Sequence[FetchedObject], loaded_at: datetime) -> int:
        loaded_at = _utc(loaded_at)
        load_id = self.newest_load() + 1
        self._db.begin()
        try:
            for dataset, tables in _by_dataset(batch).items():
                self._insert(dataset, pa.concat_tables(tables), load_id, loaded_at)
            ledger = pa.Table.from_pylist([_ledger_row(f, load_id, loaded_at) for f in batch])
            self._db.register("batch", ledger)
            names = ", ".join(LOAD_LEDGER)
            self._db.execute(f"insert into RAW.LOAD_LEDGER ({names}) select {names} from batch")
            self._db.unregister("batch")
            self._db.commit()
        except BaseException:
            self._db.rollback()
            raise
        return load_id

    def _insert(self, dataset: str, rows: pa.Table, load_id: int, loaded_at: datetime) -> None:
        self._db.register("batch", rows)
        self._db.execute(
            f"insert into {table_of(dataset)} by name "
            "select *, ?::bigint as _load_id, ?::timestamp as _loaded_at from batch",
            [load_id, loaded_at],
        )
        self._db.unregister("batch")

    def newest_load(self) -> int:
        return int(self._fetch_row("select coalesce(max(load_id), 0) from RAW.LOAD_LEDGER")[0])

    def last_build(self) -> Build | None:
        row = self._db.execute(
            "select load_id, started_at, finished_at, status, project, detail "
            "from RAW.BUILD_LEDGER where status = 'built' "
            "order by finished_at desc, load_id desc limit 1"
        ).fetchone()
        if row is None:
            return None
        load_id, started_at, finished_at, *rest = row
        return Build(
            load_id, started_at.replace(tzinfo=UTC), finished_at.replace(tzinfo=UTC), *rest
        )

    def record_build(self, build: Build) -> None:
        values = build._replace(
            started_at=_utc(build.started_at), finished_at=_utc(build.finished_at)
        )
        self._db.execute("insert into RAW.BUILD_LEDGER values (?, ?, ?, ?, ?, ?)", list(values))

    def publish(self, path: Path) -> None:
        write_tables(self._db, path)

    def close(self) -> None:
        self._db.close()

    def _fetch_row(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._db.execute(query).fetchone()
        assert row is not None
        return row


def _by_dataset(batch: Sequence[FetchedObject]) -> dict[str, list[pa.Table]]:
    """Group the rows of a batch by dataset, each row with the key of its object."""
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    for fetched in batch:
        if fetched.rows is not None:
            key = pa.repeat(pa.scalar(str(fetched.object.key)), fetched.rows.num_rows)
            tables[fetched.object.key.dataset].append(fetched.rows.append_column("_object", key))
    return {dataset: tables[dataset] for dataset in DATASETS if dataset in tables}


def _ledger_row(fetched: FetchedObject, load_id: int, loaded_at: datetime) -> dict[str, Any]:
    key, etag, size = fetched.object
    return {
        "object_key": str(key),
        "dataset": key.dataset,
        "incarnation": key.incarnation,
        "partition_number": key.partition,
        "first_offset": key.first_offset,
        "last_offset": key.last_offset,
        "etag": etag,
        "size_bytes": size,
        "row_count": 0 if fetched.rows is None else fetched.rows.num_rows,
        "status": "loaded" if fetched.rows is not None else "rejected",
        "reason": fetched.reason,
        "load_id": load_id,
        "loaded_at": loaded_at,
    }


def _utc(moment: datetime) -> datetime:
    """Convert to UTC without a time zone, as the warehouse stores times."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _first_line(error: Exception) -> str:
    line = str(error).splitlines()[0].strip()
    return line if line.endswith(".") else f"{line}."
