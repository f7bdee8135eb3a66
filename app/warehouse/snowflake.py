"""Snowflake backend of the warehouse: PUT, COPY INTO and the ledger in one transaction, REMOVE.

A load has these steps, each of which may be the last: the rows are written to files; PUT brings
them to the stage RAW.LANDING, in a folder named after the run; BEGIN; COPY INTO each table; INSERT
INTO the ledger; COMMIT; REMOVE of the run's folder. What a killed run left in the stage is never
read again. The schemas and tables exist already: `tickhouse warehouse init` creates them, so no
statement of a load is DDL, which would commit the transaction.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from snowflake.connector import errors

from app.lake import ObjectKey
from app.settings import Settings
from app.warehouse import snowflake_stage as stage
from app.warehouse.interface import (
    RELISTED_KEYS,
    Build,
    FetchedObject,
    LakeObject,
    LedgerEntry,
    PartitionFolder,
    RejectedObject,
    WarehouseError,
)
from app.warehouse.ledger import build_of, ledger_row, utc
from app.warehouse.published import Basis
from app.warehouse.raw import (
    BUILD_LEDGER,
    BUILDS_AFTER_LAST,
    LAST_BUILD,
    LOAD_LEDGER,
    NEWEST_LOAD,
    SESSION_DATES,
)
from app.warehouse.snowflake_connection import connect, explained, is_retryable
from app.warehouse.snowflake_gold import write_gold

log = logging.getLogger("tickhouse.warehouse")

ATTEMPTS = 3


class SnowflakeWarehouse:
    """`Warehouse` in the database that the settings name, as the role that loads.

    :raises WarehouseError: from any method, when Snowflake rejects a statement.
    :raises SnowflakeUnavailable: from any method, when it does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = settings.warehouse_database
        self._connection = self._connect()

    def _connect(self) -> Any:
        return connect(self._settings, self._settings.snowflake_loader_role)

    def loaded_keys(self) -> dict[PartitionFolder, list[str]]:
        rows = self._query(
            "select dataset, incarnation, partition_number, object_key "
            f"from {self._ledger} qualify row_number() over (partition by dataset, incarnation, "
            f"partition_number order by object_key desc) <= {RELISTED_KEYS} order by object_key"
        )
        found: dict[PartitionFolder, list[str]] = {}
        for dataset, incarnation, part, key in rows:
            found.setdefault(PartitionFolder(dataset, incarnation, int(part)), []).append(key)
        return found

    def not_loaded(
        self, objects: Sequence[LakeObject], *, retry_rejected: bool = False
    ) -> list[LakeObject]:
        known: dict[str, tuple[str, str]] = {}
        for start in range(0, len(objects), stage.MAX_FILES):
            keys = [str(item.key) for item in objects[start : start + stage.MAX_FILES]]
            rows = self._query(
                f"select object_key, status, etag from {self._ledger} "
                f"where object_key in ({', '.join(['%s'] * len(keys))})",
                keys,
            )
            known |= {key: (status, etag) for key, status, etag in rows}

        def is_wanted(item: LakeObject) -> bool:
            status, etag = known.get(str(item.key), ("", ""))
            return not status or (status == "rejected" and (retry_rejected or etag != item.etag))

        return [item for item in objects if is_wanted(item)]

    def rejected(self) -> list[RejectedObject]:
        rows = self._query(
            f"select object_key, etag, size_bytes, reason from {self._ledger} "
            "where status = 'rejected' order by object_key"
        )
        return [
            RejectedObject(LakeObject(ObjectKey.of(key), etag, int(size)), reason)
            for key, etag, size, reason in rows
        ]

    def load(self, batch: Sequence[FetchedObject], loaded_at: datetime) -> int:
        load_id = self.newest_load() + 1
        self._try(lambda: self._load(batch, load_id, utc(loaded_at)), load_id, batch[0].object)
        return load_id

    def _try(self, load: Callable[[], None], load_id: int, first: LakeObject) -> None:
        """Load, again in a new session if that may help.

        :param first: an object of the load, whose row of the ledger shows that it was committed.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return load()
            except errors.Error as error:
                if attempt == ATTEMPTS or not is_retryable(error):
                    raise explained(self._settings, error, f"Load {load_id} failed") from None
                log.warning("load %d failed and is tried again: %s", load_id, error)
                self._reconnect()
                if self._is_committed(first, load_id):
                    return None
        raise AssertionError

    def _load(self, batch: Sequence[FetchedObject], load_id: int, loaded_at: datetime) -> None:
        run = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(prefix="tickhouse-load-") as folder:
            sent = stage.write_files(batch, Path(folder), load_id, loaded_at)
            cursor = self._connection.cursor()
            try:
                for dataset in sent:
                    cursor.execute(stage.put_statement(self._database, run, dataset, Path(folder)))

                def copy(cursor: Any) -> list[LedgerEntry]:
                    self._copy(cursor, run, sent)
                    return [fetched.entry for fetched in batch]

                self._commit(copy, load_id, loaded_at)
            finally:
                self._remove(run, bool(sent))

    def _copy(self, cursor: Any, run: str, sent: dict[str, list[FetchedObject]]) -> None:
        for dataset, objects in sent.items():
            for start in range(0, len(objects), stage.MAX_FILES):
                part = objects[start : start + stage.MAX_FILES]
                names = [stage.staged_name(fetched) for fetched in part]
                cursor.execute(stage.copy_statement(self._database, run, dataset, names))
                stage.require_loaded(dataset, part, stage.copied_files(cursor))

    def _commit(
        self, copy: Callable[[Any], list[LedgerEntry]], load_id: int, loaded_at: datetime
    ) -> None:
        """Run `copy` with a cursor, and write its result into the ledger, in one transaction."""
        cursor = self._connection.cursor()
        cursor.execute("begin")
        try:
            entries = copy(cursor)
            self._require_free(cursor, load_id)
            self._write_ledger(cursor, entries, load_id, loaded_at)
            cursor.execute("commit")
        except BaseException:
            self._roll_back()
            raise

    def _require_free(self, cursor: Any, load_id: int) -> None:
        """Check that no other machine has loaded since this load got its number.

        A build would not read rows of a number that an earlier build has included.
        """
        if cursor.execute(self._qualified(NEWEST_LOAD)).fetchone()[0] >= load_id:
            raise WarehouseError(
                f"Another machine loaded into {self._database} at the same time and has taken the "
                f"number of load {load_id}. Nothing was committed. Let one machine load, and load "
                "again."
            )

    def _write_ledger(
        self, cursor: Any, entries: Sequence[LedgerEntry], load_id: int, loaded_at: datetime
    ) -> None:
        for start in range(0, len(entries), stage.MAX_FILES):
            part = entries[start : start + stage.MAX_FILES]
            self._delete_rejected(cursor, [str(entry.object.key) for entry in part])
            rows = [ledger_row(entry, load_id, loaded_at) for entry in part]
            row_values = f"({', '.join(['%s'] * len(LOAD_LEDGER))})"
            cursor.execute(
                f"insert into {self._ledger} ({', '.join(LOAD_LEDGER)}) "
                f"values {', '.join([row_values] * len(rows))}",
                [row[name] for row in rows for name in LOAD_LEDGER],
            )

    def _delete_rejected(self, cursor: Any, keys: list[str]) -> None:
        """Delete the ledger's rows of objects that were rejected earlier.

        Only if there are some: a DELETE locks the ledger until its transaction ends, and that of a
        killed load ends minutes later.
        """
        named = ", ".join(["%s"] * len(keys))
        rows = f"{self._ledger} where status = 'rejected' and object_key in ({named})"
        if cursor.execute(f"select 1 from {rows} limit 1", keys).fetchone():
            cursor.execute(f"delete from {rows}", keys)

    def _is_committed(self, first: LakeObject, load_id: int) -> bool:
        """Whether a commit whose answer was lost has happened."""
        (row,) = self._query(
            f"select count(*) from {self._ledger} where object_key = %s and load_id = %s",
            [str(first.key), load_id],
        )
        return bool(row[0])

    def _roll_back(self) -> None:
        try:
            self._connection.cursor().execute("rollback")
        except errors.Error as error:  # Snowflake rolls back when the session ends
            log.warning("the rollback failed: %s", error)

    def _remove(self, run: str, sent: bool) -> None:
        """Remove the run's files; if that fails they stay unread, and the load is still whole."""
        if not sent:
            return
        try:
            self._connection.cursor().execute(stage.remove_statement(self._database, run))
        except errors.Error as error:
            log.warning("the staged files of run %s could not be removed: %s", run, error)

    def newest_load(self) -> int:
        (row,) = self._query(self._qualified(NEWEST_LOAD))
        return int(row[0])

    def last_build(self) -> Build | None:
        rows = self._query(self._qualified(LAST_BUILD))
        return build_of(rows[0]) if rows else None

    def builds_after_last(self) -> list[Build]:
        return [build_of(row) for row in self._query(self._qualified(BUILDS_AFTER_LAST))]

    def session_dates(self) -> list[tuple[str, int]]:
        rows = self._query(self._qualified(SESSION_DATES))
        return [(date, int(count)) for date, count in rows]

    def record_build(self, build: Build) -> None:
        values = build._replace(
            started_at=utc(build.started_at), finished_at=utc(build.finished_at)
        )
        self._query(
            f"insert into {self._database}.RAW.BUILD_LEDGER ({', '.join(BUILD_LEDGER)}) "
            f"values ({', '.join(['%s'] * len(BUILD_LEDGER))})",
            list(values),
        )

    def query(self, sql: str, *, of_dbt: bool = False) -> list[tuple[Any, ...]]:
        if not of_dbt:
            return self._query(sql)
        connection = connect(self._settings, self._settings.snowflake_transformer_role)
        try:
            return list(connection.cursor().execute(sql).fetchall())
        except errors.Error as error:
            raise explained(self._settings, error, "A query of dbt's tables failed") from None
        finally:
            connection.close()

    def publish(self, path: Path, basis: Basis | None = None) -> bool:
        write_gold(self._settings, path)
        return False

    def close(self) -> None:
        self._connection.close()

    @property
    def _ledger(self) -> str:
        return f"{self._database}.RAW.LOAD_LEDGER"

    def _qualified(self, statement: str) -> str:
        """`statement` with the database before the schema RAW."""
        return statement.replace(" RAW.", f" {self._database}.RAW.")

    def _reconnect(self) -> None:
        try:
            self._connection.close()
        except errors.Error as error:
            log.debug("closing the old session: %s", error)
        self._connection = self._connect()

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; a SELECT once more in a new session when the first ended."""

        def ask() -> list[tuple[Any, ...]]:
            cursor = self._connection.cursor()
            return list(cursor.execute(statement, list(values) or None).fetchall())

        what = statement.split(maxsplit=1)[0].upper()
        try:
            return ask()
        except errors.Error as error:
            if not is_retryable(error) or what != "SELECT":
                raise explained(self._settings, error, f"{what} failed") from None
        self._reconnect()
        try:
            return ask()
        except errors.Error as error:
            raise explained(self._settings, error, f"{what} failed") from None
