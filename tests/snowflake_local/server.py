"""The HTTP server: login, statements and uploads of the connector, and the journal for tests."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

import duckdb
import fakesnow.server as fakesnow_server
import fakesnow.transforms.stage as fakesnow_stage
from fakesnow import info_schema
from fakesnow.instance import FakeSnow
from fakesnow.transforms import show
from snowflake.connector.errors import Error
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake_local import patches, stages, statements
from tests.snowflake_local.journal import Journal, Session
from tests.snowflake_local.privileges import Account

KEPT_RESULTS = 256
_CHANGES_PRIVILEGES = re.compile(r"(?i)(create|drop|alter|grant|revoke)\s")
_GRANTS_TO_ROLE = re.compile(r"(?i)show\s+grants\s+to\s+role\s+(?P<role>[\w$]+)")
SESSION_GONE = {
    "data": None,
    "code": "390111",
    "message": "Session no longer exists. New login required to access the service.",
    "success": False,
}


class PersistentFakeSnow(FakeSnow):
    """fakesnow with databases, stages and load history in a folder."""

    def __init__(self, folder: Path) -> None:
        self.create_database_on_connect = self.create_schema_on_connect = False
        self.db_path = folder
        self.nop_regexes = None
        self.results_cache = BoundedResults()
        self.duck_conn = duckdb.connect(
            ":memory:", config={"lambda_syntax": "ENABLE_SINGLE_ARROW", "memory_limit": "1GB"}
        )
        self.duck_conn.execute(f"attach '{folder / '_fs_global.duckdb'}' as _fs_global")
        self.duck_conn.execute(patches.describes_hugeint(info_schema.fs_global_creation_sql()))
        self.duck_conn.execute(show.fs_global_creation_sql())
        self.duck_conn.execute("set global TimeZone = 'UTC'")
        self.create_database_on_connect = True
        for database in sorted(folder.glob("*.db")):
            self.connect(database.stem).close()
        self.create_database_on_connect = False


class BoundedResults(dict[str, Any]):
    """The newest results; fakesnow keeps all as long as it lives."""

    def __setitem__(self, query_id: str, result: Any) -> None:
        super().__setitem__(query_id, result)
        while len(self) > KEPT_RESULTS:
            self.pop(next(iter(self)))


def application(folder: Path) -> Starlette:
    """The server's routes, on the databases and stages of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    bucket = folder.resolve() / "stages"
    bucket.mkdir(exist_ok=True)
    fakesnow_stage.LOCAL_BUCKET_PATH = str(bucket)
    patches.install()
    fakesnow_server.shared_fs = PersistentFakeSnow(folder.resolve())
    journal, account = Journal(), Account()

    async def login(request: Request) -> JSONResponse:
        return await _login(request, journal)

    async def query(request: Request) -> JSONResponse:
        return await _query(request, journal, account)

    async def recorded(request: Request) -> JSONResponse:
        return JSONResponse(journal.since(int(request.query_params.get("since", 0))))

    own = [
        Route("/session/v1/login-request", login, methods=["POST"]),
        Route("/queries/v1/query-request", query, methods=["POST"]),
        Route("/session/token-request", _succeed, methods=["POST"]),
        Route("/telemetry/send", _succeed, methods=["POST"]),
        Route("/fs_bucket/{path:path}", Uploads().store, methods=["PUT"]),
        Route("/healthz", _succeed),
        Route("/journal/statements", recorded),
        Route("/journal/logins", lambda _: JSONResponse(journal.logins)),
    ]
    paths = {route.path for route in own}
    return Starlette(routes=[*own, *(r for r in fakesnow_server.routes if r.path not in paths)])


async def _succeed(request: Request) -> JSONResponse:
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


class Uploads:
    """Files of PUT, each stored at the address of its own name only.

    The address of a PUT with a wildcard has the wildcard for a name. Connector 4 requests the
    address of each file beforehand; connector 5 does once its upload was rejected, and sends files
    whose turn comes later to the address of another. Where a wildcard was rejected, a content is
    therefore rejected once, too.
    """

    def __init__(self) -> None:
        self._rejected: set[tuple[str, bytes]] = set()
        """folder, and the digest of a content; an empty one for a wildcard"""

    async def store(self, request: Request) -> Response:
        path = request.path_params["path"]
        folder = path.rpartition("/")[0]
        content = (folder, hashlib.sha256(await request.body()).digest())
        if "*" in path:
            self._rejected |= {content, (folder, b"")}
            return Response(status_code=400)
        if (folder, b"") in self._rejected and content not in self._rejected:
            self._rejected.add(content)
            return Response(status_code=400)
        return await fakesnow_server.bucket_upload(request)


async def _login(request: Request, journal: Journal) -> JSONResponse:
    body = await _body(request)
    login = body["data"]
    parameters = login.setdefault("SESSION_PARAMETERS", {})
    if isinstance(parameters.get("AUTOCOMMIT"), str):  # connector 5
        parameters["AUTOCOMMIT"] = parameters["AUTOCOMMIT"].lower() != "false"
    response = await fakesnow_server.login_request(_with_body(request, body))
    answer = json.loads(response.body)
    asked = request.query_params
    session = journal.open(
        answer["data"]["token"],
        user=(login.get("LOGIN_NAME") or "").upper(),
        authenticator=(login.get("AUTHENTICATOR") or "SNOWFLAKE").upper(),
        role=(asked.get("roleName") or "PUBLIC").upper(),
        warehouse=(asked.get("warehouse") or "").upper(),
        database=(asked.get("databaseName") or "").upper(),
        schema=(asked.get("schemaName") or "").upper(),
        parameters={name.upper(): str(value) for name, value in parameters.items()},
    )
    journal.logins.append(
        {key: value for key, value in login.items() if key != "PASSWORD"}
        | {"session": session.id, "role": session.role, "warehouse": session.warehouse}
    )
    answer["data"].update(
        masterToken=secrets.token_urlsafe(16),
        validityInSeconds=3600,
        masterValidityInSeconds=14400,
        sessionId=session.id,
        displayUserName=session.user,
        idToken=None,
        idTokenValidityInSeconds=0,
        healthCheckInterval=45,
        newClientForUpgrade=None,
    )
    answer["data"]["sessionInfo"].update(warehouseName=session.warehouse, roleName=session.role)
    return JSONResponse({"code": None, "message": None} | answer)


async def _query(request: Request, journal: Journal, account: Account) -> JSONResponse:
    token = fakesnow_server.to_token(request)
    session = journal.sessions.get(token)
    if session is None:
        return JSONResponse(SESSION_GONE)
    body = await _body(request)
    async with session.one_at_a_time:
        return await _execute(request, body, session, token, journal, account)


async def _execute(
    request: Request,
    body: dict[str, Any],
    session: Session,
    token: str,
    journal: Journal,
    account: Account,
) -> JSONResponse:
    entry = journal.add(session, body["sqlText"])
    role = session.role
    try:
        sql, entry.executed = await run_in_threadpool(
            _prepare, session, token, account, body["sqlText"]
        )
    except Error as error:
        entry.executed, entry.error = False, str(error.raw_msg)
        return _failure(error)
    response = await fakesnow_server.query_request(_with_body(request, body | {"sqlText": sql}))
    answer = json.loads(response.body)
    if not answer.get("success"):
        entry.executed, entry.error = False, answer["message"]
    elif _CHANGES_PRIVILEGES.match(bare := statements.without_comments(body["sqlText"])):
        database = fakesnow_server.to_conn(token).database or ""
        account.apply(role, database, bare)
    if response.status_code == 500:  # the connector would repeat it until its time is over
        return JSONResponse(
            {
                "data": {"errorCode": "000002", "sqlState": "0A000"},
                "code": "000002",
                "message": f"Unsupported feature (local stand-in): {answer['message'][:2000]}",
                "success": False,
            }
        )
    return response


def _prepare(session: Session, token: str, account: Account, sql: str) -> tuple[str, bool]:
    """The statement for fakesnow, and whether it is executed, not only recorded."""
    bare = statements.without_comments(sql)
    if shown := _GRANTS_TO_ROLE.fullmatch(bare):
        role = shown["role"].upper()
        return statements.grants_to(role, account.granted_to(role)), True
    recorded = statements.answer(session, bare)
    if recorded is not None:
        return recorded, False
    conn = fakesnow_server.to_conn(token)
    return stages.answer(conn, bare) or statements.rewrite(session, bare), True


def _failure(error: Error) -> JSONResponse:
    code = f"{error.errno:06d}"
    return JSONResponse(
        {
            "data": {"errorCode": code, "sqlState": error.sqlstate},
            "code": code,
            "message": error.raw_msg,
            "success": False,
        }
    )


async def _body(request: Request) -> dict[str, Any]:
    content = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    decoded: dict[str, Any] = json.loads(content)
    return decoded


def _with_body(request: Request, body: dict[str, Any]) -> Request:
    """The request with another body, not compressed."""
    headers = [(k, v) for k, v in request.scope["headers"] if k.lower() != b"content-encoding"]
    changed = Request(request.scope | {"headers": headers})
    changed._body = json.dumps(body).encode()
    return changed
