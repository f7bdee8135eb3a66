"""Corrections of fakesnow where Snowflake differs; each has a test that fails without it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import fakesnow.arrow as fakesnow_arrow
import fakesnow.checks as fakesnow_checks
import fakesnow.cursor as fakesnow_cursor
import fakesnow.server as fakesnow_server
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from fakesnow.cursor import FakeSnowflakeCursor
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from tests.snowflake_local import copy_into, identifiers

_struct_of_timestamps = fakesnow_arrow.timestamp_to_sf_struct
_execute = FakeSnowflakeCursor._execute
_cast_numeric_aggregate = fakesnow_cursor.transforms.numeric_agg_implicit_cast
_stage_info = fakesnow_server.gcs_stage_info
_is_unqualified = fakesnow_checks.is_unqualified_table_expression


def install() -> None:
    """Replace the functions of fakesnow that this module corrects."""
    fakesnow_arrow.timestamp_to_sf_struct = timestamps_with_nulls
    fakesnow_cursor.transforms.merge = lambda statement: [statement]
    fakesnow_cursor.transforms.numeric_agg_implicit_cast = sum_keeps_numbers
    fakesnow_cursor.copy_into = copy_into.copy_into
    fakesnow_server.gcs_stage_info = stage_info
    fakesnow_checks.is_unqualified_table_expression = is_unqualified
    FakeSnowflakeCursor._execute = execute
    copy_into.install()


def timestamps_with_nulls(moments: Any) -> pa.StructArray:
    """A null timestamp is null; fakesnow sends 1970-01-01."""
    if isinstance(moments, pa.ChunkedArray):
        moments = pa.concat_arrays(moments.chunks) if moments.num_chunks else pa.array([])
    if moments.null_count == 0:
        return _struct_of_timestamps(moments)
    filled = _struct_of_timestamps(pc.fill_null(moments, pa.scalar(0, moments.type)))
    indices = range(filled.type.num_fields)
    return pa.StructArray.from_arrays(
        [filled.field(i) for i in indices],
        fields=[filled.type.field(i) for i in indices],
        mask=pc.is_null(moments),
    )


def sum_keeps_numbers(expression: Any) -> Any:
    """SUM of NUMBER is NUMBER; fakesnow makes it FLOAT, as it must for texts alone."""
    if isinstance(expression, exp.Sum):
        return expression
    return _cast_numeric_aggregate(expression)


def describes_hugeint(views: str) -> str:
    """DESCRIBE TABLE gives a SUM of integers, DuckDB's HUGEINT, as NUMBER(38, 0)."""
    return views.replace("columns.data_type='BIGINT'", "columns.data_type in ('BIGINT', 'HUGEINT')")


def stage_info(request: Any, statement: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Where PUT uploads to, with the fields that connector 5 demands."""
    data["overwrite"] = True
    return _stage_info(request, statement, data) | {
        "region": "local",
        "storageAccount": None,
        "isClientSideEncrypted": False,
        "path": "",
        "endPoint": None,
        "useS3RegionalUrl": False,
        "useRegionalUrl": False,
        "useVirtualUrl": False,
        "volumeHash": None,
    }


def is_unqualified(expression: Any) -> tuple[bool, bool]:
    """Whether a table lacks database or schema; fakesnow takes the stage of a COPY for a table."""
    if isinstance(expression, exp.Copy):
        return _is_unqualified(exp.Insert(this=expression.this))
    return _is_unqualified(expression)


def execute(cursor: FakeSnowflakeCursor, statement: Any, params: Any = None) -> None:
    """Execute a statement that fakesnow has transformed; every failure is an SQL error.

    fakesnow raises NotImplementedError for a statement that it does not support.
    """
    try:
        if isinstance(statement, (exp.Create, exp.Drop, exp.Alter, exp.TruncateTable)):
            _commit(cursor)
        identifiers.check(cursor, statement)
        if _creates_existing_table(cursor, statement):
            done = f"{statement.find(exp.Table).name} already exists, statement succeeded."
            _execute(cursor, sqlglot.parse_one(f"select '{done}' as \"status\"", read="duckdb"))
        elif isinstance(statement, exp.Merge):
            _merge(cursor, statement, params)
        else:
            _execute(cursor, statement, params)
            if database := statement.args.get("create_db_name"):
                cursor._duck_conn.execute(f"create schema if not exists {database}.PUBLIC")
    except (duckdb.Error, NotImplementedError, AssertionError, KeyError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProgrammingError(msg=message, errno=100132, sqlstate="P0000") from error


def _commit(cursor: FakeSnowflakeCursor) -> None:
    """DDL commits the open transaction."""
    try:
        cursor._duck_conn.commit()
    except duckdb.TransactionException:
        return
    cursor._conn._in_transaction = False


def _creates_existing_table(cursor: FakeSnowflakeCursor, statement: Any) -> bool:
    """Whether it is CREATE TABLE IF NOT EXISTS of a table that exists.

    For it fakesnow deletes the table's load history, and COPY would load its files again.
    """
    if not isinstance(statement, exp.Create) or not statement.args.get("exists"):
        return False
    table = statement.find(exp.Table)
    if statement.args.get("kind") != "TABLE" or table is None:
        return False
    names = [table.catalog or cursor._conn.database, table.db or cursor._conn.schema, table.name]
    found = cursor._duck_conn.execute(
        "select 1 from duckdb_tables() where upper(database_name) = upper(?) "
        "and upper(schema_name) = upper(?) and upper(table_name) = upper(?)",
        names,
    ).fetchone()
    return found is not None


def _merge(cursor: FakeSnowflakeCursor, statement: exp.Merge, params: Any) -> None:
    """MERGE as one statement of DuckDB; fakesnow's several cannot run in a transaction."""
    kinds = _merge_kinds(statement)
    if not cursor._conn._autocommit and not cursor._conn._in_transaction:
        cursor._duck_conn.begin()
        cursor._conn._in_transaction = True
    sql = statement.sql(dialect="duckdb", comments=False) + " returning merge_action"
    try:
        rows = cursor._duck_conn.execute(sql, params).fetchall()
    except duckdb.Error as error:
        duplicate = "more than once" in str(error)
        raise ProgrammingError(
            msg="Duplicate row detected during DML action" if duplicate else str(error),
            errno=100090 if duplicate else 2043,
            sqlstate="42P18",
        ) from error
    counts = Counter(row[0] for row in rows)
    done = {"inserted": "INSERT", "updated": "UPDATE", "deleted": "DELETE"}
    result = ", ".join(f'{counts[done[kind]]} as "number of rows {kind}"' for kind in kinds)
    _execute(cursor, sqlglot.parse_one(f"select {result}", read="duckdb"), None)
    cursor._rowcount = len(rows)


def _merge_kinds(statement: exp.Merge) -> list[str]:
    """What a MERGE does, in Snowflake's order; its column names as DuckDB wants them."""
    source = statement.args["using"].alias_or_name
    kinds = set()
    for when in statement.args["whens"].expressions:
        then = when.args.get("then")
        if isinstance(then, exp.Insert):
            kinds.add("inserted")
            for column in list(then.expression.find_all(exp.Column)) if then.expression else []:
                if not column.table:
                    column.set("table", exp.to_identifier(source))
            for column in list(then.this.find_all(exp.Column)) if then.this else []:
                column.set("table", None)
        elif isinstance(then, exp.Update):
            kinds.add("updated")
            for assignment in then.expressions:
                if isinstance(assignment.this, exp.Column):
                    assignment.this.set("table", None)
        else:
            kinds.add("deleted")
    return [kind for kind in ("inserted", "updated", "deleted") if kind in kinds]
