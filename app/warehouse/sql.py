"""SQL literals, for statements that take no parameters; elsewhere values are bound."""

from __future__ import annotations


def text_literal(text: str) -> str:
    """Quote `text` as a string literal of DuckDB, whatever characters it contains."""
    return "'" + text.replace("'", "''") + "'"
