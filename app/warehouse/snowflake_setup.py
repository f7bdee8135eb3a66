"""`tickhouse warehouse init`: set up a Snowflake account."""

from __future__ import annotations

import re
from pathlib import Path

import app
from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.raw import table_statements
from app.warehouse.snowflake_connection import connect, explained
from app.warehouse.snowflake_stage import STAGED_COLUMNS

FOLDER = Path(app.__file__).resolve().parents[1] / "snowflake"
SETUP = FOLDER / "setup.sql"
EXTERNAL_STAGE = FOLDER / "external_stage.sql"
ADMIN_ROLE = "ACCOUNTADMIN"
NAMES = {
    "STOCKS": "warehouse_database",
    "TICKHOUSE": "snowflake_warehouse",
    "TICKHOUSE_LOADER": "snowflake_loader_role",
    "TICKHOUSE_TRANSFORMER": "snowflake_transformer_role",
    "TICKHOUSE_REPORTER": "snowflake_reporter_role",
    "TICKHOUSE_LAKE": "snowflake_storage_integration",
    "s3://tickhouse/": "lake_url",
    "arn:aws:iam::123456789012:role/tickhouse-lake": "snowflake_storage_role_arn",
}
"""Settings by the names of their defaults, or examples, in setup.sql and external_stage.sql."""


def init_statements(settings: Settings) -> list[str]:
    """setup.sql with the names of the settings, and the tables of RAW.

    :raises WarehouseError: the stage is external, and its role of AWS is not set.
    """
    if settings.snowflake_stage == "external" and settings.snowflake_storage_role_arn is None:
        raise WarehouseError(
            "SNOWFLAKE_STAGE=external needs SNOWFLAKE_STORAGE_ROLE_ARN, the role of AWS that "
            "may read the lake's bucket; docs/snowflake.md has the steps."
        )
    use = f"use database {settings.warehouse_database}"
    tables = [use, *table_statements(STAGED_COLUMNS)]
    return [*setup_statements(settings), *tables]


def setup_statements(settings: Settings) -> list[str]:
    """The statements of setup.sql, and of an external stage, with the names of the settings."""
    files = [SETUP, *([EXTERNAL_STAGE] if settings.snowflake_stage == "external" else [])]
    lines = [
        line
        for file in files
        for line in file.read_text().splitlines()
        if not line.startswith("--")
    ]

    def named(word: re.Match[str]) -> str:
        return str(getattr(settings, NAMES[word[0]]))

    names = "|".join(map(re.escape, NAMES))
    text = re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", named, "\n".join(lines))
    quota = f"credit_quota = {settings.snowflake_monthly_credits}"
    text = re.sub(r"credit_quota = \d+", quota, text)
    return [part.strip() for part in text.split(";\n") if part.strip(" \n;")]


def init(settings: Settings, *, dry_run: bool) -> None:
    """Run setup.sql and create the tables of RAW, or print the statements.

    :raises WarehouseError: WAREHOUSE is not snowflake, or the user lacks the role ACCOUNTADMIN.
    """
    require_snowflake(settings)
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


def require_snowflake(settings: Settings) -> None:
    """Check that Snowflake is the warehouse.

    :raises WarehouseError: it is not.
    """
    if settings.warehouse != "snowflake":
        raise WarehouseError(
            f"WAREHOUSE is {settings.warehouse}, which needs no set-up. Set WAREHOUSE=snowflake."
        )
