"""DuckDB backend of the warehouse. Open it under the lock, and close it before dbt runs."""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from app.lake import DATASETS, RENAMED, ObjectKey
from app.warehouse.interface import (
    RELISTED_KEYS,
    Build,
    FetchedObject,
    LakeObject,
    PartitionFolder,
    RejectedObject,
    WarehouseError,
)
from app.warehouse.ledger import build_of, ledger_row, utc
from app.warehouse.published import Basis, write_tables
from app.warehouse.raw import (
    BUILDS_AFTER_LAST,
    LAST_BUILD,
    LOAD_LEDGER,
    NEWEST_LOAD,
    SESSION_DATES,
    renames,
    setup_statements,
    table_of,
)

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
        for statement in [*renames(self._columns()), *setup_statements()]:
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

    def not_loaded(
        self, objects: Sequence[LakeObject], *, retry_rejected: bool = False
    ) -> list[LakeObject]:
        listed = {
            "key": [str(item.key) for item in objects],
            "first": [item.key.first_offset for item in objects],
            "etag": [item.etag for item in objects],
        }
        rows = self._db.execute(
            "select listed.key from (select unnest($key::varchar[]) as key, "
            "unnest($first::bigint[]) as first_offset, unnest($etag::varchar[]) as etag) as listed "
            "join RAW.LOAD_LEDGER as ledger on ledger.object_key = listed.key "
            # implied by the key: numbers, unlike texts, let DuckDB skip most of the ledger
            "and ledger.first_offset = listed.first_offset "
            "where ledger.status = 'loaded' or (ledger.etag = listed.etag and not $again)",
            listed | {"again": retry_rejected},
        ).fetchall()
        known = {key for (key,) in rows}
        return [item for item in objects if str(item.key) not in known]

    def rejected(self) -> list[RejectedObject]:
        rows = self._db.execute(
            "select object_key, etag, size_bytes, reason from RAW.LOAD_LEDGER "
            "where status = 'rejected' order by object_key"
        ).fetchall()
        return [
            RejectedObject(LakeObject(ObjectKey.of(key), etag, size), reason)
            for key, etag, size, reason in rows
        ]

    def load(self, batch: Sequence[FetchedObject], loaded_at: datetime) -> int:
        loaded_at = utc(loaded_at)
        load_id = self.newest_load() + 1
        self._db.begin()
        try:
            for dataset, tables in _by_dataset(batch).items():
                self._insert(dataset, pa.concat_tables(tables), load_id, loaded_at)
            self._write_ledger([ledger_row(f.entry, load_id, loaded_at) for f in batch])
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

    def _write_ledger(self, rows: Sequence[dict[str, Any]]) -> None:
        # Lists, not an Arrow table: see `repeated`.
        keys = [row["object_key"] for row in rows]
        self._db.execute(
            "delete from RAW.LOAD_LEDGER where status = 'rejected' "
            "and object_key in (select unnest(?::varchar[]))",
            [keys],
        )
        columns = ", ".join(f"unnest(${name}::{kind}[])" for name, kind in LOAD_LEDGER.items())
        self._db.execute(
            f"insert into RAW.LOAD_LEDGER ({', '.join(LOAD_LEDGER)}) select {columns}",
            {name: [row[name] for row in rows] for name in LOAD_LEDGER},
        )

    def newest_load(self) -> int:
        return int(self._fetch_row(NEWEST_LOAD)[0])

    def last_build(self) -> Build | None:
        rows = self._db.execute(LAST_BUILD).fetchall()
        return build_of(rows[0]) if rows else None

    def builds_after_last(self) -> list[Build]:
        return [build_of(row) for row in self._db.execute(BUILDS_AFTER_LAST).fetchall()]

    def session_dates(self) -> list[tuple[str, int]]:
        rows = self._db.execute(SESSION_DATES).fetchall()
        return [(date, int(count)) for date, count in rows]

    def record_build(self, build: Build) -> None:
        values = build._replace(
            started_at=utc(build.started_at), finished_at=utc(build.finished_at)
        )
        self._db.execute("insert into RAW.BUILD_LEDGER values (?, ?, ?, ?, ?, ?)", list(values))

    def query(self, sql: str, *, of_dbt: bool = False) -> list[tuple[Any, ...]]:
        return self._db.execute(sql).fetchall()

    def publish(self, path: Path, basis: Basis | None = None) -> bool:
        try:
            return write_tables(self._db, path, basis)
        except duckdb.Error as error:
            raise WarehouseError(
                f"Gold could not be written to {path}: {_first_line(error)} If the disk is full, "
                "free some space; the next load builds again."
            ) from error

    def close(self) -> None:
        self._db.close()

    def _columns(self) -> dict[str, list[str]]:
        """The columns of each table that has renamed ones, in lower case.

        Not of `duckdb_columns()`, which binds every view of the database: 20 ms.
        """
        found = {}
        for dataset in RENAMED:
            try:
                described = self._db.execute(
                    f"select * from {table_of(dataset)} limit 0"
                ).description
            except duckdb.CatalogException:  # a new database
                continue
            found[dataset] = [name.lower() for name, *_ in described or ()]
        return found

    def _fetch_row(self, query: str) -> tuple[Any, ...]:
        (row,) = self._db.execute(query).fetchall()
        found: tuple[Any, ...] = row
        return found


def _by_dataset(batch: Sequence[FetchedObject]) -> dict[str, list[pa.Table]]:
    """Group the rows of a batch by dataset, each row with the key of its object."""
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    for fetched in batch:
        if fetched.rows is not None:
            key = repeated(str(fetched.object.key), fetched.rows.num_rows)
            tables[fetched.object.key.dataset].append(fetched.rows.append_column("_object", key))
    return {dataset: tables[dataset] for dataset in DATASETS if dataset in tables}


def repeated(text: str, count: int) -> pa.StringArray:
    """An Arrow array of `count` times the same text.

    Of buffers, as the first Python value that pyarrow converts makes it import pandas, which costs
    a quarter of a CPU second and 75 MB.
    """
    encoded = text.encode()
    ends = array("i", range(0, (count + 1) * len(encoded), len(encoded)))
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(encoded * count))


def _first_line(error: Exception) -> str:
    line = str(error).splitlines()[0].strip()
    return line if line.endswith(".") else f"{line}."
