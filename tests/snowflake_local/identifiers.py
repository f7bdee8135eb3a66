"""The case of identifiers: "interval" and INTERVAL are two names in Snowflake, one in DuckDB."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from tests.snowflake_local.errors import invalid_identifier, missing_object

_NAMES = """
    select table_name, column_name from duckdb_columns()
    where upper(database_name) = upper(?) and upper(schema_name) = upper(?)
        and upper(table_name) = upper(?)
"""


def check(cursor: Any, statement: Any) -> None:
    """Raise Snowflake's error where a name differs from the object's only in its case.

    fakesnow has made unquoted names upper-case, so the names in the statement and in the catalog
    are those that Snowflake would compare.

    :raises ProgrammingError: no column or table has exactly this name.
    """
    if not isinstance(statement, (exp.Query, exp.DML, exp.Create)):
        return
    columns: set[str] = set()
    for table in _tables(statement):
        place = [table.catalog or cursor._conn.database, table.db or cursor._conn.schema]
        found = cursor._duck_conn.execute(_NAMES, [*place, table.name]).fetchall()
        stored = {name for name, _ in found}
        if stored and table.name not in stored:
            raise missing_object(table.name)
        columns |= {column for _, column in found}
    in_lower_case = {name.upper() for name in columns if name != name.upper()}
    if in_lower_case:
        _check_columns(statement, columns, in_lower_case)


def _tables(statement: Any) -> list[Any]:
    """The tables that a statement reads or changes, but not the one that it creates."""
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    created = statement.find(exp.Table) if isinstance(statement, exp.Create) else None
    return [
        table
        for table in statement.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier)
        and table is not created
        and (table.db or table.name not in own)
    ]


def _check_columns(statement: Any, columns: set[str], in_lower_case: set[str]) -> None:
    inserted = [
        identifier
        for schema in statement.find_all(exp.Schema)
        if isinstance(schema.parent, exp.Insert)
        for identifier in schema.expressions
    ]
    known = columns | {alias.alias for alias in statement.find_all(exp.Alias)}
    for column in [*statement.find_all(exp.Column), *inserted]:
        if column.name.upper() in in_lower_case and column.name not in known:
            raise invalid_identifier(column.name)
