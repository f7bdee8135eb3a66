"""What clients did: each session with its login, each statement with its session and role."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Session:
    """A login, and what it and later USE and ALTER SESSION statements set."""

    id: int
    user: str
    authenticator: str
    role: str
    warehouse: str
    database: str
    schema: str
    parameters: dict[str, str] = field(default_factory=dict)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the statement that runs; connector 5 sends PUT again from several threads."""


@dataclass
class Statement:
    """A statement as the client sent it, with the role that its session had then."""

    number: int
    session: int
    user: str
    role: str
    warehouse: str
    database: str
    schema: str
    query_tag: str
    sql: str
    executed: bool = True
    """False: it was only recorded, or failed"""
    error: str | None = None


class Journal:
    """All sessions and statements since the server started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self.sessions: dict[str, Session] = {}
        """by token"""
        self.logins: list[dict[str, Any]] = []
        """bodies of the login requests, without password"""
        self.statements: list[Statement] = []

    def open(self, token: str, **login: Any) -> Session:
        with self._lock:
            session = self.sessions[token] = Session(id=next(self._ids), **login)
        return session

    def add(self, session: Session, sql: str) -> Statement:
        with self._lock:
            statement = Statement(
                number=len(self.statements) + 1,
                session=session.id,
                user=session.user,
                role=session.role,
                warehouse=session.warehouse,
                database=session.database,
                schema=session.schema,
                query_tag=session.parameters.get("QUERY_TAG", ""),
                sql=sql,
            )
            self.statements.append(statement)
        return statement

    def since(self, number: int) -> list[dict[str, Any]]:
        """The statements after the one with this number, oldest first."""
        with self._lock:
            return [asdict(statement) for statement in self.statements[number:]]
