"""`tickhouse warehouse init` and `check`: set up a Snowflake account, and report what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import app
from app.errors import TickhouseError
from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.raw import table_statements
from app.warehouse.snowflake_connection import connect, explained
from app.warehouse.snowflake_stage import STAGE, STAGED_COLUMNS

SETUP = Path(app.__file__).resolve().parents[1] / "snowflake" / "setup.sql"
ADMIN_ROLE = "ACCOUNTADMIN"
NAMES = {
    "STOCKS": "snowflake_database",
    "TICKHOUSE": "snowflake_warehouse",
    "TICKHOUSE_LOADER": "snowflake_loader_role",
    "TICKHOUSE_TRANSFORMER": "snowflake_transformer_role",
    "TICKHOUSE_REPORTER": "snowflake_reporter_role",
}
"""Settings by the names of their defaults in setup.sql."""


def init_statements(settings: Settings) -> list[str]:
    """setup.sql with the names of the settings, and the tables of RAW."""
    use = f"use database {settings.snowflake_database}"
    tables = [use, *table_statements(STAGED_COLUMNS)]
    return [*setup_statements(settings), *tables]


def setup_statements(settings: Settings) -> list[str]:
    """The statements of setup.sql with the names of the settings."""
    lines = [line for line in SETUP.read_text().splitlines() if not line.startswith("--")]

    def named(word: re.Match[str]) -> str:
        return str(getattr(settings, NAMES[word[0]]))

    text = re.sub(rf"\b({'|'.join(NAMES)})\b", named, "\n".join(lines))
    return [part.strip() for part in text.split(";\n") if part.strip(" \n;")]


def init(settings: Settings, *, dry_run: bool) -> None:
    """Run setup.sql and create the tables of RAW, or print the statements.

    :raises WarehouseError: WAREHOUSE is not snowflake, or the user lacks the role ACCOUNTADMIN.
    """
    _require_snowflake(settings)
    statements = init_statements(settings)
    if dry_run:
        print("\n".join(f"{statement.rstrip(';')};" for statement in statements))
        return
    connection = connect(settings, ADMIN_ROLE, database=None, warehouse=None)
    try:
        for statement in statements:
            try:
                connection.cursor().execute(statement)
            except Exception as error:
                what = " ".join(statement.split())[:80]
                raise explained(settings, error, f"`{what}` failed") from None
    finally:
        connection.close()
    print(f"The account is set up: {len(statements)} statements, by {ADMIN_ROLE}.")


def check(settings: Settings) -> None:
    """Log in as each role, and print in sentences what is missing.

    :raises WarehouseError: something is missing.
    """
    _require_snowflake(settings)
    problems = list(_problems(settings))
    if problems:
        raise WarehouseError(
            "\n".join(problems) + "\n`tickhouse warehouse init` creates what is missing."
        )
    print(
        f"{settings.snowflake_user} can load, build and read: every role, schema, table and stage "
        f"that Tickhouse needs is in {settings.snowflake_database}."
    )


def _problems(settings: Settings) -> Iterator[str]:
    database = settings.snowflake_database
    needs = {
        settings.snowflake_loader_role: {
            f"The stage {database}.{STAGE}": f"list @{database}.{STAGE}",
            **{
                f"The table {database}.{table}": f"select * from {database}.{table} limit 0"
                for table in _tables()
            },
        },
        settings.snowflake_transformer_role: {
            f"The schema {database}.{schema}": f"show tables in schema {database}.{schema} limit 1"
            for schema in ("BRONZE", "SILVER", "GOLD")
        },
        settings.snowflake_reporter_role: {
            f"The schema {database}.GOLD": f"show views in schema {database}.GOLD limit 1"
        },
    }
    for role, statements in needs.items():
        try:
            connection = connect(settings, role)
        except TickhouseError as error:
            yield f"As {role}: {error}"
            continue
        try:
            for thing, statement in statements.items():
                try:
                    connection.cursor().execute(statement)
                except Exception as error:
                    reason = str(error).strip().splitlines()[-1]
                    yield f"{thing} is missing or not granted to {role}: {reason}"
        finally:
            connection.close()


def _tables() -> list[str]:
    created = (re.match(r"create table if not exists (\S+)", s) for s in table_statements({}))
    return [found[1] for found in created if found]


def _require_snowflake(settings: Settings) -> None:
    if settings.warehouse != "snowflake":
        raise WarehouseError(
            f"WAREHOUSE is {settings.warehouse}, which needs no set-up. Set WAREHOUSE=snowflake."
        )
