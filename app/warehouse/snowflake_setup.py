"""`tickhouse warehouse init` and `check`: set up a Snowflake account, and report what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from snowflake.connector import DictCursor

import app
from app.errors import TickhouseError
from app.lake import incarnation_note_key
from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.raw import REJECTED_VIEW, table_statements
from app.warehouse.snowflake_connection import connect, explained, first_line, is_quota_used_up
from app.warehouse.snowflake_external import STAGE as LAKE_STAGE
from app.warehouse.snowflake_stage import STAGE, STAGED_COLUMNS

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
COMPUTED = "select count(*) from table(generator(rowcount => 1))"
"""A query that needs a warehouse and no object."""


def init_statements(settings: Settings) -> list[str]:
    """setup.sql with the names of the settings, and the tables of RAW."""
    use = f"use database {settings.warehouse_database}"
    tables = [use, *table_statements(STAGED_COLUMNS)]
    return [*setup_statements(settings), *tables]


def setup_statements(settings: Settings) -> list[str]:
    """The statements of setup.sql, and of an external stage, with the names of the settings.

    :raises WarehouseError: the stage is external, and its role of AWS is not set.
    """
    files = [SETUP]
    if settings.snowflake_stage == "external":
        files.append(EXTERNAL_STAGE)
        if settings.snowflake_storage_role_arn is None:
            raise WarehouseError(
                "SNOWFLAKE_STAGE=external needs SNOWFLAKE_STORAGE_ROLE_ARN, the role of AWS that "
                "may read the lake's bucket; docs/snowflake.md has the steps."
            )
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
        f"that Tickhouse needs is in {settings.warehouse_database}."
    )


def _problems(settings: Settings) -> Iterator[str]:
    database = settings.warehouse_database
    is_external = settings.snowflake_stage == "external"
    stage = f"{database}.{LAKE_STAGE if is_external else STAGE}"
    # A folder of the bucket with few objects: what is asked is only whether it can be listed.
    path = f"/{settings.lake_prefix}{incarnation_note_key('')}" if is_external else ""
    needs = {
        settings.snowflake_loader_role: {
            f"The stage {stage}": f"list @{stage}{path.removesuffix('.json')}",
            **{
                f"The table {database}.{table}": f"select * from {database}.{table} limit 0"
                for table in _tables()
            },
            f"The view {database}.{REJECTED_VIEW}": (
                f"select object_key from {database}.{REJECTED_VIEW} limit 1"
            ),
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
            yield from _problems_of_warehouse(settings, role, connection)
            for thing, statement in statements.items():
                try:
                    connection.cursor().execute(statement)
                except Exception as error:
                    reason = str(error).strip().splitlines()[-1]
                    yield f"{thing} is missing or not granted to {role}: {reason}"
        finally:
            connection.close()
    if is_external:
        yield from _problems_of_lake(settings)


def _problems_of_warehouse(settings: Settings, role: str, connection: Any) -> Iterator[str]:
    """Whether the warehouse computes for the role; it resumes for this."""
    try:
        connection.cursor().execute(COMPUTED)
    except Exception as error:
        if is_quota_used_up(error):
            yield str(explained(settings, error, f"The warehouse cannot be used by {role}"))
        else:
            yield (
                f"The warehouse {settings.snowflake_warehouse} is missing, or {role} may not use "
                f"it: {first_line(error)}"
            )


def _problems_of_lake(settings: Settings) -> Iterator[str]:
    """Whether the external stage has the bucket that the settings name."""
    unreachable = unreachable_lake(settings)
    if unreachable is not None:
        yield unreachable
    schema, stage = LAKE_STAGE.split(".")
    asked = f"show stages in schema {settings.warehouse_database}.{schema}"
    with closing(connect(settings, settings.snowflake_loader_role)) as connection:
        cursor = connection.cursor(DictCursor)
        urls = [row["url"] for row in cursor.execute(asked).fetchall() if row["name"] == stage]
    for url in urls:
        if url.rstrip("/") != settings.lake_url.rstrip("/"):
            yield (
                f"The stage {settings.warehouse_database}.{LAKE_STAGE} reads {url}, and the lake "
                f"(LAKE_BUCKET) is {settings.lake_url}: drop the stage, and allow the bucket in "
                f"the integration {settings.snowflake_storage_integration}."
            )


def unreachable_lake(settings: Settings) -> str | None:
    """A sentence on a lake that an account cannot read by an external stage, or None."""
    if settings.lake_endpoint_url is None or settings.snowflake_host is not None:
        return None
    return (
        f"SNOWFLAKE_STAGE is external, and the lake is at {settings.lake_endpoint_url} "
        "(LAKE_ENDPOINT_URL): Snowflake reads buckets of Amazon S3 only. Leave LAKE_ENDPOINT_URL "
        "empty, or set SNOWFLAKE_STAGE=internal."
    )


def _tables() -> list[str]:
    created = (re.match(r"create table if not exists (\S+)", s) for s in table_statements({}))
    return [found[1] for found in created if found]


def _require_snowflake(settings: Settings) -> None:
    if settings.warehouse != "snowflake":
        raise WarehouseError(
            f"WAREHOUSE is {settings.warehouse}, which needs no set-up. Set WAREHOUSE=snowflake."
        )
