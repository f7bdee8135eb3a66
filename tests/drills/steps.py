"""Interrupt a load at a step: a request to S3 or a statement of the warehouse, in their drivers.

`python -m tests.drills.steps after commit` is a load that is killed with -9 after its commit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import duckdb
import pytest
from botocore.client import BaseClient
from snowflake.connector.cursor import SnowflakeCursor

from app.settings import load_settings
from app.warehouse.commands import load


class Step(NamedTuple):
    """Where a load is interrupted."""

    when: str
    """before or after"""
    what: str
    """how the statement begins, or the name of the request"""


class DuckDBConnection:
    """A connection whose statements can be interrupted."""

    def __init__(self, real: Any, interrupted: Callable[..., Any]) -> None:
        self._real, self._interrupted = real, interrupted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *given: Any) -> Any:
        return self._interrupted(sql, lambda: self._real.execute(sql, *given))

    def commit(self) -> None:
        self._interrupted("commit", self._real.commit)


def interrupt(patch: pytest.MonkeyPatch, step: Step, act: Callable[[], None]) -> None:
    """Call `act` the first time that a load of this process is at `step`."""
    waiting = [act]

    def interrupted(what: str, go_on: Callable[[], Any]) -> Any:
        is_there = what.lower().startswith(step.what.lower())
        if is_there and step.when == "before" and waiting:
            waiting.pop()()
        done = go_on()
        if is_there and step.when == "after" and waiting:
            waiting.pop()()
        return done

    request, execute, connect = BaseClient._make_api_call, SnowflakeCursor.execute, duckdb.connect
    patch.setattr(
        BaseClient,
        "_make_api_call",
        lambda self, name, given: interrupted(name, lambda: request(self, name, given)),
    )
    patch.setattr(
        SnowflakeCursor,
        "execute",
        lambda self, sql, *given, **more: interrupted(
            sql, lambda: execute(self, sql, *given, **more)
        ),
    )
    patch.setattr(
        duckdb,
        "connect",
        lambda *given, **more: DuckDBConnection(connect(*given, **more), interrupted),
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, Step(*sys.argv[1:]), die)
        load(load_settings())
