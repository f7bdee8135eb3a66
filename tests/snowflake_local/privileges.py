"""Which privileges a statement needs in Snowflake, and who has them after snowflake/setup.sql.

By Snowflake's documentation of access control; the stand-in's server itself denies nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import sqlglot
from sqlglot import exp

from tests.snowflake_local.statements import without_comments

ADMINISTRATORS = ("ACCOUNTADMIN", "SYSADMIN")

_GRANT = re.compile(
    r"(?is)grant\s+(?P<privileges>[\w\s,]+?)\s+on\s+(?P<many>(?:all|future)\s+)?"
    r"(?:(?P<kind>warehouse|database|schema|stage|tables?|views?)\s+)?(?:in\s+schema\s+)?"
    r"(?P<name>[\w.$]+)\s+to\s+(?:role\s+)?(?P<role>\w+)(?:\s+copy\s+current\s+grants)?"
)
_REVOKE = re.compile(r"(?is)revoke\s(?P<granted>.*)\sfrom\s(?P<role>.*)")
_GRANT_ROLE = re.compile(r"(?is)grant\s+role\s+(?P<name>\w+)\s+to\s+role\s+(?P<role>\w+)")
_FREE = re.compile(
    r"(?is)(begin|commit|rollback|start\s+transaction|use|alter\s+session|show\s+parameters"
    r"|show\s+grants)\b"
)
_SHOW = re.compile(r"(?is)show\s.*?\bin\s+(?:(?P<kind>schema|database|table)\s+)?(?P<name>[\w.$]+)")
_STAGE = re.compile(r"(?i)@(?P<name>[\w$]+\.[\w$]+\.[\w$]+)")
_CREATED = re.compile(
    r"(?is)create\s+(?P<replace>or\s+replace\s+)?(?:(?:transient|temporary|secure)\s+)*"
    r"(?P<kind>\w+)\s+(?P<exists>if\s+not\s+exists\s+)?(?P<name>[\w.$]+)"
    r"(?P<external>\s+url\s*=)?"
)
_OWNED = re.compile(
    r"(?is)(?P<word>alter|drop|truncate|comment\s+on)\s+(?:table|view)\s+"
    r"(?P<exists>if\s+exists\s+)?(?P<name>[\w.$]+)"
)
_COMMENT_AT_END = re.compile(r"(?s)\s*/\*(?:(?!\*/).)*\*/[\s;]*\Z")


class Grant(NamedTuple):
    """A privilege of a role on an object, or on all of a kind in a schema (`DATABASE.SCHEMA.*`)."""

    role: str
    privilege: str
    kind: str
    name: str


class Need(NamedTuple):
    """A privilege on an object that a statement needs; views are of kind TABLE."""

    privilege: str
    kind: str
    name: str


class Account:
    """Owners and grants, as statements change them; `used` are the grants that some one needed."""

    def __init__(self) -> None:
        self.grants: set[Grant] = set()
        self.used: set[Grant] = set()
        self._owners: dict[str, str] = {}
        self._external_stages: set[str] = set()
        self._views: set[str] = set()
        self._roles: dict[str, set[str]] = {}
        """the roles that are granted to a role"""

    def missing_privileges(self, role: str, warehouse: str, database: str, sql: str) -> list[Need]:
        """Run a statement: what its role lacks for it, nothing for administrators' roles.

        :param database: of the session, for names without one; `DATABASE.SCHEMA` for names that
            have no schema either.
        """
        bare = without_comments(_COMMENT_AT_END.sub("", sql))
        needs = set(needs_of(bare, database)) if role not in ADMINISTRATORS else set()
        owned = _OWNED.match(bare)
        if owned and owned["exists"] and full_name(owned["name"], database) not in self._owners:
            return []
        if any(need.kind == "TABLE" for need in needs):
            needs.add(Need("USAGE", "WAREHOUSE", warehouse))
        lacking = sorted(need for need in needs if not self._has(role, need))
        if not lacking:
            self.apply(role, database, bare)
        return lacking

    def granted_to(self, role: str) -> list[tuple[str, str, str]]:
        """What SHOW GRANTS TO ROLE names: privilege, kind and name of each object.

        A grant on future objects counts for those that were there before, too.
        """
        owners = dict(self._owners)
        kinds = {name: "VIEW" if name in self._views else "TABLE" for name in owners}
        found = {("OWNERSHIP", kinds[name], name) for name in owners if owners[name] == role}
        for grant in [grant for grant in self.grants if grant.role == role]:
            schema, _, last = grant.name.rpartition(".")
            names = [grant.name]
            if last == "*":
                names = [
                    name
                    for name, kind in kinds.items()
                    if kind == grant.kind and name.rpartition(".")[0] == schema
                ]
            found |= {(grant.privilege, grant.kind, name) for name in names}
        found |= {("USAGE", "ROLE", name) for name in self._roles.get(role, set())}
        return sorted(found)

    def _has(self, role: str, need: Need) -> bool:
        schema = need.name.rpartition(".")[0]
        if self._owners.get(need.name) == role:
            return True
        if need.kind == "SCHEMA" or (need.privilege, need.kind) == ("CREATE", "TABLE"):
            owned = need.name if need.kind == "SCHEMA" else schema
            if self._uses(Grant(role, "OWNERSHIP", "SCHEMA", owned)):
                return True
        if need.name in self._external_stages:
            need = need._replace(privilege="USAGE")
        kind = "VIEW" if need.name in self._views else need.kind
        names = (need.name, f"{schema}.*")
        return any(self._uses(Grant(role, need.privilege, kind, name)) for name in names)

    def _uses(self, grant: Grant) -> bool:
        if grant in self.grants:
            self.used.add(grant)
        return grant in self.grants

    def apply(self, role: str, database: str, sql: str) -> None:
        """Change owners and grants as a statement does that has succeeded."""
        owned = _OWNED.match(sql)
        if owned and owned["word"].lower() == "drop":
            self._owners.pop(full_name(owned["name"], database), None)
        elif created := _CREATED.match(sql):
            self._create(role, created, database)
        elif revoked := _REVOKE.fullmatch(sql):
            self.grants -= self._grants_of(
                f"grant {revoked['granted']} to {revoked['role']}", database
            )
        elif granted_role := _GRANT_ROLE.match(sql):
            self._roles.setdefault(granted_role["role"].upper(), set()).add(
                granted_role["name"].upper()
            )
        else:
            granted = self._grants_of(sql, database)
            transferred = {grant.name for grant in granted if grant.privilege == "OWNERSHIP"}
            self.grants = granted | {
                grant
                for grant in self.grants
                if grant.privilege != "OWNERSHIP" or grant.name not in transferred
            }

    def _grants_of(self, sql: str, database: str) -> set[Grant]:
        """What a GRANT grants; nothing for another statement."""
        granted = _GRANT.fullmatch(_COMMENT_AT_END.sub("", sql))
        if granted is None:
            return set()
        name = full_name(granted["name"], database)
        kind = (granted["kind"] or "table").upper().removesuffix("S")
        kind = "VIEW" if name in self._views else kind
        parts = {"WAREHOUSE": 1, "DATABASE": 1, "SCHEMA": 2}.get(kind, 3)
        target = full_name(granted["name"], database, 2 if granted["many"] else parts)
        return {
            Grant(
                granted["role"].upper(),
                privilege.strip(),
                kind,
                f"{target}.*" if granted["many"] else target,
            )
            for privilege in granted["privileges"].upper().split(",")
        }

    def _create(self, role: str, created: re.Match[str], database: str) -> None:
        name = full_name(created["name"], database)
        if created["kind"].upper() == "STAGE" and created["external"]:
            self._external_stages.add(name)
        if created["kind"].upper() not in ("TABLE", "VIEW"):
            return
        if created["exists"] and name in self._owners:
            return
        self._owners[name] = role
        if created["kind"].upper() == "VIEW":
            self._views.add(name)
        self.grants = {grant for grant in self.grants if grant.name != name}


def needs_of(sql: str, database: str) -> Iterator[Need]:
    """The privileges that a statement needs, with USAGE of the schemas and databases it names.

    :raises ValueError: this module does not know such a statement.
    """
    for need in _own_needs(sql, database):
        yield need
        schema, _, _ = need.name.rpartition(".") if need.kind != "SCHEMA" else (need.name, "", "")
        if need.kind in ("TABLE", "STAGE"):
            yield Need("USAGE", "SCHEMA", schema)
        if need.kind in ("TABLE", "STAGE", "SCHEMA"):
            yield Need("USAGE", "DATABASE", need.name.split(".")[0])


def _own_needs(sql: str, database: str) -> Iterator[Need]:
    word = sql.split(maxsplit=1)[0].lower()
    if _FREE.match(sql):
        return
    if word in ("put", "remove", "list"):
        stage = _STAGE.search(sql)
        assert stage, sql
        for privilege in ("READ",) if word == "list" else ("READ", "WRITE"):
            yield Need(privilege, "STAGE", stage["name"].upper())
    elif word == "show":
        yield from _show_needs(sql, database)
    elif word == "describe":
        yield Need("SELECT", "TABLE", full_name(sql.split()[-1], database))
    elif word == "grant":
        granted = _GRANT.fullmatch(sql)
        assert granted, sql
        yield Need("OWNERSHIP", "TABLE", full_name(granted["name"], database))
    elif owned := _OWNED.match(sql):
        yield Need("OWNERSHIP", "TABLE", full_name(owned["name"], database))
    elif word == "copy":
        yield from _copy_needs(sql, database)
    else:
        yield from _query_needs(sql, database)


def _show_needs(sql: str, database: str) -> Iterator[Need]:
    shown = _SHOW.match(sql)
    if shown is None:
        raise ValueError(f"not known what this needs: {sql}")
    parts = shown["name"].upper().split(".")
    if (shown["kind"] or "").lower() == "database" or len(parts) == 1:
        yield Need("USAGE", "DATABASE", parts[0])
    else:
        yield Need("USAGE", "SCHEMA", full_name(".".join(parts), database, 2))


def _copy_needs(sql: str, database: str) -> Iterator[Need]:
    yield Need("INSERT", "TABLE", full_name(sql.split()[2], database))
    stage = _STAGE.search(sql)
    assert stage, sql
    yield Need("READ", "STAGE", stage["name"].upper())


def _query_needs(sql: str, database: str) -> Iterator[Need]:
    created = _CREATED.match(sql)
    if created and created["kind"].upper() not in ("TABLE", "VIEW"):
        yield Need("CREATE", "ACCOUNT", created["kind"].upper())
        return
    statement = sqlglot.parse_one(sql, read="snowflake")
    target = None
    if isinstance(statement, (exp.Create, exp.Insert, exp.Merge, exp.Delete, exp.Update)):
        target = statement.find(exp.Table)
        assert target is not None
        for privilege in _changes(statement):
            yield Need(privilege, "TABLE", _name(target, database))
    elif not isinstance(statement, exp.Query):
        raise ValueError(f"not known what this needs: {sql}")
    own = {cte.alias.upper() for cte in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        if table is target or (not table.db and table.name.upper() in own):
            continue
        if not isinstance(table.this, exp.Identifier):
            continue
        if table.db.upper() == "INFORMATION_SCHEMA":
            yield Need("USAGE", "DATABASE", (table.catalog or database.split(".")[0]).upper())
        else:
            yield Need("SELECT", "TABLE", _name(table, database))


def _changes(statement: exp.Expression) -> set[str]:
    if isinstance(statement, exp.Create):
        return {"CREATE"}
    if isinstance(statement, exp.Merge):
        done = {type(when.args.get("then")) for when in statement.args["whens"].expressions}
        names = {exp.Insert: "INSERT", exp.Update: "UPDATE"}
        return {names.get(kind, "DELETE") for kind in done} | {"SELECT"}
    if isinstance(statement, exp.Insert):
        return {"INSERT"}
    return {"DELETE" if isinstance(statement, exp.Delete) else "UPDATE", "SELECT"}


def _name(table: exp.Table, database: str) -> str:
    return full_name(".".join(part.name for part in table.parts), database)


def full_name(name: str, database: str, parts: int = 3) -> str:
    """The name in upper case, with the database (and schema) of the session where it has none."""
    given, session = name.replace('"', "").upper().split("."), database.upper().split(".")
    lacking = parts - len(given)
    return ".".join([*session[:lacking], *given] if lacking <= len(session) else given)
