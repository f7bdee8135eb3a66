"""Staged files of a load: their names, PUT, and what COPY INTO answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from app.warehouse.interface import FetchedObject, WarehouseError
from app.warehouse.raw import table_of
from app.warehouse.sql import text_literal

STAGE = "RAW.LANDING"
MAX_FILES = 1_000
"""COPY INTO takes up to this many names in FILES."""
UNQUOTABLE = "'\\*?"
"""Characters that a path of PUT cannot have: they end or escape its quotes, or are wildcards."""
NOTHING_DONE = "0 files processed"


STAGED_COLUMNS = {"_staged_file": "varchar", "_staged_row": "bigint"}
"""Columns that COPY INTO fills: where in the stage a row was."""


class Copied(NamedTuple):
    """What COPY INTO did with a file."""

    name: str
    """path in the stage"""
    status: str
    """LOADED, or LOAD_SKIPPED: an earlier COPY into this table had loaded it"""
    rows: int


def staged_name(fetched: FetchedObject) -> str:
    """The file's name in its dataset's folder: PUT with a wildcard takes one folder."""
    _, _, rest = str(fetched.object.key).split("/", 2)
    return rest.replace("/", ".")


def write_files(
    batch: Sequence[FetchedObject], folder: Path, load_id: int, loaded_at: Any
) -> dict[str, list[FetchedObject]]:
    """Write the rows of each object to `folder/<dataset>/`, with the columns that the load adds.

    :returns: the objects with rows, by dataset.
    """
    written: dict[str, list[FetchedObject]] = {}
    for fetched in batch:
        if fetched.rows is None or fetched.rows.num_rows == 0:
            continue  # whatever COPY INTO would answer for a file without rows
        dataset = fetched.object.key.dataset
        count = fetched.rows.num_rows
        added: dict[str, Any] = {
            "_object": pa.scalar(str(fetched.object.key)),
            "_load_id": pa.scalar(load_id),
            "_loaded_at": pa.scalar(loaded_at, pa.timestamp("us")),
        }
        rows = fetched.rows
        for name, value in added.items():
            rows = rows.append_column(name, pa.repeat(value, count))
        (folder / dataset).mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, folder / dataset / staged_name(fetched))
        written.setdefault(dataset, []).append(fetched)
    return written


def put_statement(database: str, run: str, dataset: str, folder: Path) -> str:
    """PUT every file of a dataset with one statement.

    :raises WarehouseError: PUT would not find the folder under its name.
    """
    if found := set(UNQUOTABLE) & set(folder.as_posix()):
        raise WarehouseError(
            f"Snowflake's PUT cannot name the folder {folder}, as its path has "
            f"{' and '.join(found)}. Set TMPDIR to another folder for temporary files."
        )
    return (
        f"put 'file://{folder.as_posix()}/{dataset}/*.parquet' "
        f"'@{database}.{STAGE}/{run}/{dataset}' auto_compress = false overwrite = false"
    )


def copy_statement(database: str, run: str, dataset: str, names: Sequence[str]) -> str:
    """COPY INTO the RAW table of a dataset from its staged files, by name."""
    files = ", ".join(map(text_literal, names))
    return (
        f"copy into {database}.{table_of(dataset)} from @{database}.{STAGE}/{run}/{dataset}/ "
        f"files = ({files}) file_format = (type = parquet use_logical_type = true) "
        "match_by_column_name = case_insensitive "
        "include_metadata = (_staged_file = METADATA$FILENAME, "
        "_staged_row = METADATA$FILE_ROW_NUMBER) on_error = abort_statement"
    )


def remove_statement(database: str, run: str) -> str:
    """REMOVE the files of this run, and of no other."""
    return f"remove @{database}.{STAGE}/{run}/"


def copied_files(cursor: Any) -> list[Copied]:
    """Read the answer of the COPY INTO that `cursor` has executed.

    It is a row per file, or, when there was none to load, one row with only a status: "Copy
    executed with 0 files processed." The list is empty then.

    :raises WarehouseError: the answer has neither form.
    """
    names = [column[0].lower() for column in cursor.description]
    answers = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    if len(answers) == 1 and NOTHING_DONE in str(answers[0].get("status")):
        return []
    if not all({"file", "status", "rows_loaded"} <= set(answer) for answer in answers):
        raise WarehouseError(
            f"COPY INTO answered with columns {', '.join(names)}, which this version does not know."
        )
    return [
        Copied(str(a["file"]), str(a["status"]).upper(), int(a["rows_loaded"] or 0))
        for a in answers
    ]


def require_loaded(dataset: str, sent: Sequence[FetchedObject], copied: Sequence[Copied]) -> None:
    """Check that COPY INTO loaded every row of every file.

    Names of staged files begin with the run's id, so no earlier COPY can have loaded one.

    :raises WarehouseError: it did not; the transaction is to be rolled back.
    """
    loaded = [file for file in copied if file.status == "LOADED"]
    expected = sum(fetched.rows.num_rows for fetched in sent if fetched.rows is not None)
    rows = sum(file.rows for file in loaded)
    if len(loaded) != len(sent) or rows != expected:
        other = ", ".join(f"{f.name} {f.status}" for f in copied if f.status != "LOADED")
        raise WarehouseError(
            f"COPY INTO {table_of(dataset)} loaded {rows} rows of {len(loaded)} files instead of "
            f"{expected} of {len(sent)}{f' ({other[:300]})' if other else ''}. Nothing was "
            "committed; the next load tries again."
        )
