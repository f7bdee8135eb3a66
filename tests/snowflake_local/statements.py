"""What happens to a statement before fakesnow sees it: recorded only, rejected, or rewritten."""

from __future__ import annotations

import re

from tests.snowflake_local import stages
from tests.snowflake_local.errors import unsupported
from tests.snowflake_local.journal import Session

SUCCESS = "select 'Statement executed successfully.' as \"status\""

_KIND = (
    r"warehouse|role|database\s+role|user|resource\s+monitor|network\s+(?:policy|rule)"
    r"|storage\s+integration"
)
RECORDED = re.compile(
    rf"""(?isx)
    (?:grant|revoke)\s
    | create\s+(?:or\s+replace\s+)?(?:{_KIND})\s
    | (?:alter|drop)\s+(?:{_KIND}|account)\s
    | alter\s+session\s
    | alter\s+database\s+\S+\s+set\s
    | use\s+(?:role|warehouse|secondary\s+roles)\s
    | comment\s+(?:if\s+exists\s+)?on\s
    | alter\s+(?:table|view)\s+\S+\s+(?:alter|modify)\s.*\bcomment\b
    """
)
"""Statements that succeed, are in the journal, and change nothing but the session."""

REJECTED = re.compile(
    r"""(?isx)
    (?:create\s+(?:or\s+(?:replace|alter)\s+)?|alter\s+|drop\s+|show\s+|describe\s+|execute\s+)
        (?:(?:transient|secure|external|api|notification|catalog)\s+)*
        (?P<object>
            pipes?|tasks?|streams?|alerts?|dynamic\s+tables?|iceberg\s+tables?|materialized\s+views?
            |external\s+tables?|external\s+volumes?|hybrid\s+tables?|event\s+tables?|secrets?|tags?
            |masking\s+polic\w+|row\s+access\s+polic\w+|functions?|procedures?|integrations?
            |failover\s+groups?|shares?|streamlits?
        )\s
    | (?P<command>undrop|explain|call|get|validate)\b
    | drop\s+(?P<stage>stage)\b
    """
)
"""Statements that Snowflake executes and the stand-in does not."""

_COMMENTS = re.compile(r"\A(?:\s*/\*.*?\*/\s*|\s*--[^\n]*(?:\n|\Z))*\s*", re.S)
_TEMPORARY = re.compile(
    r"(?is)\A(create\s+(?:or\s+replace\s+)?)(?:(?:local|global)\s+)?temp(?:orary)?\s+(table|view)\b"
)
_USE = re.compile(r'(?is)use\s+(role|warehouse)\s+"?([\w$]+)"?')
_SET = re.compile(r"(?is)(\w+)\s*=\s*(?:'((?:[^']|'')*)'|(\w+))")
_EXTERNAL_STAGE = re.compile(r"(?is)\Acreate\s+(?:or\s+replace\s+)?stage\b.*\burl\s*=\s*'s3://")
_QUERY_TAG = re.compile(r"(?is)show\s+parameters\s+like\s+'query_tag'(?:\s+in\s+session)?")
_GRANT_COLUMNS = ("created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name")
_PARAMETER_COLUMNS = ("key", "value", "default", "level", "description", "type")


def without_comments(sql: str) -> str:
    """The statement without the comments before it and the semicolon after it."""
    return _COMMENTS.sub("", sql).rstrip().removesuffix(";").rstrip()


def answer(session: Session, sql: str) -> str | None:
    """The result, as a query, of a statement that is recorded only; None for any other.

    :raises ProgrammingError: the stand-in does not execute such statements.
    """
    if RECORDED.match(sql):
        _change(session, sql)
        return SUCCESS
    rejected = REJECTED.match(sql)
    if rejected is not None:
        raise unsupported(" ".join(next(filter(None, rejected.groups())).upper().split()))
    if re.match(r"(?i)show\s+grants\b", sql):
        return stages.as_query(_GRANT_COLUMNS, [])
    if _QUERY_TAG.fullmatch(sql):
        tag = session.parameters.get("QUERY_TAG", "")
        return stages.as_query(
            _PARAMETER_COLUMNS, [("QUERY_TAG", tag, "", "SESSION", "", "STRING")]
        )
    return None


def grants_to(role: str, granted: list[tuple[str, str, str]]) -> str:
    """The result of SHOW GRANTS TO ROLE, as a query.

    :param granted: privilege, kind and name of each object.
    """
    rows = [("", *of_object, "ROLE", role) for of_object in granted]
    return stages.as_query(_GRANT_COLUMNS, rows)


def rewrite(session: Session, sql: str) -> str:
    """The statement in the form that fakesnow understands."""
    if re.match(r"(?i)start\s+transaction\b", sql):
        return "begin"
    temporary = _TEMPORARY.match(sql)
    if temporary:  # fakesnow's temporary objects cannot be in a schema; dbt drops its own
        kind = "transient table" if temporary[2].lower() == "table" else "view"
        sql = f"{temporary[1]}{kind}{sql[temporary.end() :]}"
    if _EXTERNAL_STAGE.match(sql):
        if re.search(r"(?i)\bcredentials\s*=", sql):
            raise unsupported("CREDENTIALS of a stage; use STORAGE_INTEGRATION")
        sql = re.sub(r"(?i)\bstorage_integration\s*=\s*\S+", "", sql)
    if re.match(r"(?i)create\s+(?:or\s+replace\s+)?stage\b", sql):
        sql = re.sub(r"(?i)\b(file_format|encryption|directory)\s*=\s*\([^)]*\)", "", sql)
        sql = re.sub(r"(?i)\bcomment\s*=\s*'(?:[^']|'')*'", "", sql)
    if re.match(r"(?i)put\s", sql):
        sql = re.sub(r"'(@[^']*)'", r"\1", sql)
    sql = re.sub(r"(?i)\bfrom\s+'(@[^']+)'", r"from \1", sql)
    for function, value in (
        ("role", session.role),
        ("user", session.user),
        ("warehouse", session.warehouse),
        ("account", "LOCAL"),
        ("region", "LOCAL"),
        ("session", str(session.id)),
    ):
        sql = re.sub(rf"(?i)\bcurrent_{function}\s*\(\s*\)", f"'{value}'", sql)
    return sql


def _change(session: Session, sql: str) -> None:
    used = _USE.match(sql)
    if used and used[1].lower() == "role":
        session.role = used[2].upper()
    elif used:
        session.warehouse = used[2].upper()
    elif re.match(r"(?i)alter\s+session\s+set\s", sql):
        for name, quoted, word in _SET.findall(sql):
            session.parameters[name.upper()] = quoted.replace("''", "'") or word
    elif re.match(r"(?i)alter\s+session\s+unset\s", sql):
        session.parameters.pop(sql.split()[-1].upper(), None)
