"""Snowflake backend for a lake in Amazon S3: COPY INTO reads the bucket, by an external stage.

Nothing is downloaded and nothing is PUT. A load is BEGIN; COPY INTO each table; a count of what it
brought, by object; INSERT INTO the ledger; COMMIT. As nobody has read the objects before, COPY is
the one to find a bad object: it then fails as a whole, and parts of its files are copied and rolled
back until each bad one is known. Those are rejected, and the others loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from snowflake.connector import errors

from app.lake import DATASETS, RENAMED
from app.warehouse.interface import LakeObject, LedgerEntry, Loaded, WarehouseError
from app.warehouse.ledger import utc
from app.warehouse.objects import nulls_reason, required_columns
from app.warehouse.raw import column_type, table_of
from app.warehouse.snowflake import SnowflakeWarehouse
from app.warehouse.snowflake_connection import errno, first_line
from app.warehouse.snowflake_stage import MAX_FILES, copied_files
from app.warehouse.sql import text_literal

log = logging.getLogger("tickhouse.warehouse")

STAGE = "RAW.LAKE"
"""The external stage; its URL is the bucket, so the path of a file is the key of its object."""
SMALLEST_BYTES = 12
"""Of a Parquet file: its magic number twice, and the length of the footer. COPY INTO passes over
files without a byte."""
CONTENT_ERRORS = range(100_000, 101_000)
"""Error numbers of values and files that cannot be read, such as 100071, a failed cast. Those of a
missing file, or of a bucket that denies access, are others."""


class Contents(NamedTuple):
    """What COPY INTO has brought of an object."""

    row_count: int
    empty: tuple[str, ...]
    """required columns that have nulls"""


class UnreadableObjects(Exception):
    """COPY INTO failed because of one or more of `objects`."""

    def __init__(self, objects: Sequence[LakeObject], error: errors.Error) -> None:
        super().__init__(str(error))
        self.objects, self.error = objects, error


class SnowflakeOnLake(SnowflakeWarehouse):
    """`Warehouse` and `LakeReader` in Snowflake, whose external stage has the lake's bucket.

    :raises WarehouseError: from any method, when Snowflake rejects a statement.
    :raises SnowflakeUnavailable: from any method, when it does not answer.
    """

    def load_from_lake(self, objects: Sequence[LakeObject], loaded_at: datetime) -> Loaded:
        load_id = self.newest_load() + 1
        entries: list[LedgerEntry] = []

        def load() -> None:
            self._load_from_lake(objects, entries, load_id, utc(loaded_at))

        self._try(load, load_id, objects[0])
        return Loaded(load_id, entries)

    def _load_from_lake(
        self,
        objects: Sequence[LakeObject],
        entries: list[LedgerEntry],
        load_id: int,
        loaded_at: datetime,
    ) -> None:
        """Load, and put into `entries` what the ledger then has."""
        rejected = {
            item: f"it is not a readable Parquet file: it has {item.size} bytes"
            for item in objects
            if item.size < SMALLEST_BYTES
        }

        def copy(cursor: Any) -> list[LedgerEntry]:
            readable = [item for item in objects if item not in rejected]
            copied = self._copy_from_lake(cursor, readable, load_id, loaded_at)
            found = {entry.object: entry for entry in copied}
            entries[:] = [found.get(i) or LedgerEntry(i, 0, rejected[i]) for i in objects]
            return entries

        while True:
            try:
                return self._commit(copy, load_id, loaded_at)
            except UnreadableObjects as failure:
                more = self._unreadable(failure.objects, failure.error, load_id, loaded_at)
                if not more:  # together they fail, alone none does
                    raise failure.error from None
                rejected |= more

    def _copy_from_lake(
        self, cursor: Any, objects: Sequence[LakeObject], load_id: int, loaded_at: datetime
    ) -> Iterator[LedgerEntry]:
        for part in _parts(objects):
            dataset = part[0].key.dataset
            try:
                self._copy_part(cursor, part, load_id, loaded_at)
            except errors.Error as error:
                if errno(error) in CONTENT_ERRORS:
                    raise UnreadableObjects(part, error) from None
                raise
            copied = _rows_by_key(cursor)
            if not copied:
                raise WarehouseError(
                    f"COPY INTO {table_of(dataset)} found none of {len(part)} objects. Is the URL "
                    f"of the stage {self._database}.{STAGE} that of the bucket "
                    f"{self._settings.lake_bucket}? Nothing was committed."
                )
            self._require_free(cursor, load_id)  # else the rows of this number are not all its own
            found = self._contents(cursor, dataset, load_id)
            done = [_entry(item, copied, found) for item in part]
            self._delete_rows(cursor, dataset, load_id, [e for e in done if e.reason is not None])
            yield from done

    def _copy_part(
        self, cursor: Any, part: Sequence[LakeObject], load_id: int, loaded_at: datetime
    ) -> None:
        prefix, dataset = self._settings.lake_prefix, part[0].key.dataset
        keys = [str(item.key) for item in part]
        cursor.execute(copy_statement(self._database, dataset, prefix, keys, load_id, loaded_at))

    def _contents(self, cursor: Any, dataset: str, load_id: int) -> dict[str, Contents]:
        """What this transaction has brought of each object, by key."""
        required = required_columns(dataset)
        counts = ", ".join(f"count({name})" for name in required)
        rows = cursor.execute(
            f"select _object, count(*), {counts} from {self._database}.{table_of(dataset)} "
            f"where _load_id = {load_id} group by _object"
        ).fetchall()
        return {
            key: Contents(
                count, tuple(n for n, v in zip(required, values, strict=True) if v < count)
            )
            for key, count, *values in rows
        }

    def _delete_rows(
        self, cursor: Any, dataset: str, load_id: int, rejected: Sequence[LedgerEntry]
    ) -> None:
        if rejected:
            keys = ", ".join(text_literal(str(entry.object.key)) for entry in rejected)
            cursor.execute(
                f"delete from {self._database}.{table_of(dataset)} "
                f"where _load_id = {load_id} and _object in ({keys})"
            )

    def _unreadable(
        self,
        objects: Sequence[LakeObject],
        error: errors.Error,
        load_id: int,
        loaded_at: datetime,
    ) -> dict[LakeObject, str]:
        """Those of `objects` that COPY INTO cannot read, with the reason."""
        if len(objects) == 1:
            return {objects[0]: f"COPY INTO cannot read it: {first_line(error)}"}
        found: dict[LakeObject, str] = {}
        middle = len(objects) // 2
        for half in (objects[:middle], objects[middle:]):
            failure = self._failure(half, load_id, loaded_at)
            if failure is not None:
                found |= self._unreadable(half, failure, load_id, loaded_at)
        return found

    def _failure(
        self, objects: Sequence[LakeObject], load_id: int, loaded_at: datetime
    ) -> errors.Error | None:
        """Copy the objects and roll back: the error, if one cannot be read."""
        cursor = self._connection.cursor()
        cursor.execute("begin")
        try:
            self._copy_part(cursor, objects, load_id, loaded_at)
        except errors.Error as error:
            if errno(error) in CONTENT_ERRORS:
                return error
            raise
        finally:
            self._roll_back()
        return None


def copy_statement(
    database: str,
    dataset: str,
    prefix: str,
    keys: Sequence[str],
    load_id: int,
    loaded_at: datetime,
) -> str:
    """COPY INTO the RAW table of a dataset from objects of the lake.

    FORCE, because the ledger decides what is loaded: Snowflake remembers for 64 days which files it
    has loaded, also of rows that were deleted since. A SELECT, because it can give each row the
    object's key and the number of the load; MATCH_BY_COLUMN_NAME cannot be combined with one.

    :param prefix: of the keys, in the bucket.
    """
    folder = f"bronze/{dataset}/"
    columns = _columns(dataset, prefix, load_id, loaded_at)
    files = ", ".join(text_literal(key.removeprefix(folder)) for key in keys)
    return (
        f"copy into {database}.{table_of(dataset)} ({', '.join(columns)}) "
        f"from (select {', '.join(columns.values())} from @{database}.{STAGE}/{prefix}{folder}) "
        f"files = ({files}) file_format = (type = parquet use_logical_type = true) "
        "force = true on_error = abort_statement"
    )


def _columns(dataset: str, prefix: str, load_id: int, loaded_at: datetime) -> dict[str, str]:
    """The columns of a dataset's RAW table, and what COPY INTO puts there."""
    columns = {}
    earlier = {new: old for old, new in RENAMED.get(dataset, {}).items()}
    for field in DATASETS[dataset]:
        names = (field.name, earlier.get(field.name))
        kind = column_type(field.type)
        values = [f"$1:{name}::{kind}" for name in names if name]
        columns[field.name] = values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"
    return columns | {
        "_object": f"substr(METADATA$FILENAME, {len(prefix) + 1})",
        "_load_id": f"{load_id}::bigint",
        "_loaded_at": f"{text_literal(loaded_at.isoformat(' '))}::timestamp",
        "_staged_file": "METADATA$FILENAME",
        "_staged_row": "METADATA$FILE_ROW_NUMBER",
    }


def _parts(objects: Sequence[LakeObject]) -> Iterator[list[LakeObject]]:
    """The objects by dataset, as many as COPY INTO takes."""
    for dataset in DATASETS:
        of_dataset = [item for item in objects if item.key.dataset == dataset]
        for start in range(0, len(of_dataset), MAX_FILES):
            yield of_dataset[start : start + MAX_FILES]


def _rows_by_key(cursor: Any) -> dict[str, int]:
    """The number of rows that COPY INTO has loaded of each object; its answer names their URLs."""
    return {
        "/".join(file.name.rsplit("/", 5)[-5:]): file.rows
        for file in copied_files(cursor)
        if file.status == "LOADED"
    }


def _entry(
    item: LakeObject, copied: Mapping[str, int], found: Mapping[str, Contents]
) -> LedgerEntry:
    """The ledger's entry of an object that was copied.

    :raises WarehouseError: the rows are not as many as COPY INTO reports.
    """
    key = str(item.key)
    count, empty = found.get(key, Contents(0, ()))
    if copied.get(key, 0) != count:
        raise WarehouseError(
            f"COPY INTO loaded {copied.get(key, 0)} rows of {key}, and {count} rows have its key. "
            "Nothing was committed; the next load tries again."
        )
    if key not in copied:
        return LedgerEntry(item, 0, "COPY INTO passed over it: it has no rows, or is not readable")
    reason = nulls_reason(empty)
    return LedgerEntry(item, 0 if reason else count, reason)
