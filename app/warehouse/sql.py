"""SQL literals, for statements that take no parameters; elsewhere values are bound."""

from __future__ import annotations

from datetime import UTC, datetime


def text_literal(text: str) -> str:
    """Quote `text` as a string literal of DuckDB, whatever characters it contains."""
    return "'" + text.replace("'", "''") + "'"


def timestamp_literal(moment: datetime) -> str:
    """A moment as a literal of DuckDB and Snowflake: UTC without a time zone, whole seconds."""
    return f"timestamp '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
