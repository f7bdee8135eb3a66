"""Texts in statements that take no parameters; everywhere else values are bound."""

from __future__ import annotations


def text_literal(text: str) -> str:
    """`text` as a text of DuckDB's SQL that means just this text, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"
