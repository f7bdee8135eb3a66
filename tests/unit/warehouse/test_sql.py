"""A text in a statement means just this text, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.warehouse.sql import text_literal
from app.warehouse.transform import PROJECT

TEXTS = st.text() | st.text("'\\\"%{}$; -\n\x00nx0")


def macro(dialect: str) -> Callable[[str], str]:
    """The macro `text_literal` of the dbt project, dispatched as dbt does for `dialect`."""
    source = (PROJECT / "macros" / "text_literal.sql").read_text()
    adapter = SimpleNamespace(dispatch=lambda name: getattr(macros, f"{dialect}__{name}"))
    context = {"return": lambda value: value, "adapter": adapter}
    macros: Any = jinja2.Environment().from_string(source, globals=context).module
    literal: Callable[[str], str] = macros.text_literal
    return literal


DUCKDB, SNOWFLAKE = macro("duckdb"), macro("snowflake")


def snowflake_value(literal: str) -> str:
    """What Snowflake reads in a literal of single quotes, by its documentation."""
    assert literal[0] == literal[-1] == "'"
    inside = iter(literal[1:-1])
    value = ""
    for char in inside:
        if char in "'\\":
            assert next(inside) == char, "an apostrophe or a backslash that stands alone"
        value += char
    return value


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.mark.parametrize("literal", [text_literal, DUCKDB], ids=["python", "dbt"])
@settings(deadline=None)
@example(text="'; drop table x; --")
@example(text="A\\")
@given(text=TEXTS)
def test_duckdb_reads_the_text_that_was_written(
    database: duckdb.DuckDBPyConnection, literal: Callable[[str], str], text: str
) -> None:
    assert database.execute(f"select {literal(text)}").fetchall() == [(text,)]


@settings(deadline=None)
@example(text="\\'; drop table x; --")
@example(text="A\\")
@given(text=TEXTS)
def test_snowflake_reads_the_text_that_was_written(text: str) -> None:
    assert snowflake_value(SNOWFLAKE(text)) == text
