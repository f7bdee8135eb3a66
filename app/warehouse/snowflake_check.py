"""`tickhouse warehouse check`: what a Snowflake account lacks, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from snowflake.connector import DictCursor, errors

from app.errors import TickhouseError
from app.lake import incarnation_note_key
from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.raw import REJECTED_VIEW, raw_tables
from app.warehouse.snowflake_connection import connect, explained, first_line, is_quota_used_up
from app.warehouse.snowflake_external import STAGE as LAKE_STAGE
from app.warehouse.snowflake_setup import require_snowflake, setup_statements
from app.warehouse.snowflake_stage import STAGE, STAGED_COLUMNS

COMPUTED = "select count(*) from table(generator(rowcount => 1))"
"""A query that needs a warehouse and no object."""
GRANT = re.compile(
    r"grant (?P<privileges>[\w, ]+) on (?:(?P<many>all|future) )?"
    r"(?P<kind>warehouse|database|schema|stage|tables|views) (?:in schema )?(?P<name>\S+)"
    r" to role (?P<role>\w+)"
)
"""A grant of setup.sql on an object, or on all tables or views of a schema."""


class AccountObject(NamedTuple):
    """An object of the account."""

    kind: str
    """table, view, stage, schema, database, warehouse or role"""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Privilege(NamedTuple):
    """A privilege, in upper case, on an object."""

    privilege: str
    target: AccountObject


def check(settings: Settings) -> None:
    """Log in as each role, and print in sentences what is missing.

    :raises WarehouseError: something is missing.
    """
    require_snowflake(settings)
    problems = list(_problems(settings))
    if problems:
        raise WarehouseError(
            "\n".join(problems) + "\n`tickhouse warehouse init` creates and grants what is "
            "missing, but for SELECT on views of GOLD, which dbt grants as it builds them."
        )
    print(
        f"{settings.snowflake_user} can load, build and read: every role, schema, table and stage "
        f"that Tickhouse needs is in {settings.warehouse_database}."
    )


def _problems(settings: Settings) -> Iterator[str]:
    missing: set[AccountObject] = set()
    for role, statements in _readable(settings).items():
        try:
            connection = connect(settings, role)
        except TickhouseError as error:
            yield f"As {role}: {error}"
            continue
        with closing(connection):
            yield from _problems_of_warehouse(settings, role, connection)
            for target, statement in statements.items():
                try:
                    cursor = connection.cursor().execute(statement)
                except Exception as error:
                    missing.add(target)
                    reason = str(error).strip().splitlines()[-1]
                    yield f"The {target} is missing or not granted to {role}: {reason}"
                else:
                    yield from _missing_columns(settings, target, cursor.description)
            needed = {p for p in _needed(settings, role) if p.target not in missing}
            yield from _missing_privileges(role, needed, connection)
    yield from _gold_not_granted(settings)
    if settings.snowflake_stage == "external":
        yield from _problems_of_lake(settings)


def _readable(settings: Settings) -> dict[str, dict[AccountObject, str]]:
    """For each role, what it must be able to read, and a statement that shows whether it can."""
    database = settings.warehouse_database
    is_external = settings.snowflake_stage == "external"
    stage = f"{database}.{LAKE_STAGE if is_external else STAGE}"
    # A folder of the bucket with few objects: what is asked is only whether it can be listed.
    path = f"/{settings.lake_prefix}{incarnation_note_key('')}" if is_external else ""
    tables = [f"{database}.{table}" for table in raw_tables({})]
    view, gold = f"{database}.{REJECTED_VIEW}", f"{database}.GOLD"
    return {
        settings.snowflake_loader_role: {
            AccountObject("stage", stage): f"list @{stage}{path.removesuffix('.json')}",
            **{AccountObject("table", table): f"select * from {table} limit 0" for table in tables},
            AccountObject("view", view): f"select object_key from {view} limit 1",
        },
        settings.snowflake_transformer_role: {
            AccountObject("schema", f"{database}.{schema}"): (
                f"show tables in schema {database}.{schema} limit 1"
            )
            for schema in ("BRONZE", "SILVER", "GOLD")
        },
        settings.snowflake_reporter_role: {
            AccountObject("schema", gold): f"show views in schema {gold} limit 1"
        },
    }


def _missing_columns(settings: Settings, target: AccountObject, described: Any) -> Iterator[str]:
    """Whether a table of RAW has the columns of this version."""
    needed = raw_tables(STAGED_COLUMNS).get(
        target.name.removeprefix(f"{settings.warehouse_database}."), {}
    )
    found = {column[0].lower() for column in described}
    if lacking := [name for name in needed if name not in found]:
        yield f"The {target} lacks the columns {', '.join(lacking)}, which this version loads."


def _needed(settings: Settings, role: str) -> set[Privilege]:
    """The privileges that setup.sql grants to the role, on each table and view of RAW by name."""
    found = set()
    many = {"table": list(raw_tables({})), "view": [REJECTED_VIEW]}
    for granted in filter(None, map(GRANT.match, setup_statements(settings))):
        kind, name = granted["kind"].removesuffix("s"), granted["name"]
        database = name.split(".")[0]
        names = [f"{database}.{each}" for each in many[kind]] if granted["many"] else [name]
        if granted["role"] == role:
            for privilege in granted["privileges"].upper().split(", "):
                found |= {Privilege(privilege, AccountObject(kind, each)) for each in names}
    return found


def _missing_privileges(role: str, needed: set[Privilege], connection: Any) -> Iterator[str]:
    try:
        granted = _granted(role, connection.cursor(DictCursor))
    except Exception as error:
        yield f"The privileges of {role} cannot be read: {first_line(error)}"
        return
    lacking: dict[AccountObject, list[str]] = {}
    for privilege, target in sorted(needed - granted):
        if Privilege("OWNERSHIP", target) not in granted:
            lacking.setdefault(target, []).append(privilege)
    for target, privileges in lacking.items():
        yield f"{role} lacks {' and '.join(privileges)} on the {target}."


def _granted(role: str, cursor: Any) -> set[Privilege]:
    """The privileges of a role, and of roles that are granted to it."""
    found: set[Privilege] = set()
    roles, seen = [role], {role}
    while roles:
        for row in cursor.execute(f"show grants to role {roles.pop()}").fetchall():
            kind, name = row["granted_on"].lower(), row["name"]
            if kind == "role" and name not in seen:
                seen.add(name)
                roles.append(name)
            found.add(Privilege(row["privilege"], AccountObject(kind, name)))
    return found


def _gold_not_granted(settings: Settings) -> Iterator[str]:
    """Whether the reporter may read each view that dbt has built so far."""
    gold = f"{settings.warehouse_database}.GOLD"
    try:
        with closing(connect(settings, settings.snowflake_transformer_role)) as connection:
            cursor = connection.cursor(DictCursor).execute(f"show views in schema {gold}")
            views = [AccountObject("view", f"{gold}.{row['name']}") for row in cursor.fetchall()]
        role = settings.snowflake_reporter_role
        with closing(connect(settings, role)) as connection:
            yield from _missing_privileges(
                role, {Privilege("SELECT", view) for view in views}, connection
            )
    except (TickhouseError, errors.Error):
        return  # reported above: a role that cannot log in, or a schema that is missing


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
