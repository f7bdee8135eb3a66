"""The errors of Snowflake that the stand-in raises itself."""

from __future__ import annotations

from snowflake.connector.errors import ProgrammingError


def unsupported(feature: str) -> ProgrammingError:
    """The error for what Snowflake may know but the stand-in does not execute."""
    return ProgrammingError(
        msg=f"SQL compilation error:\nUnsupported feature '{feature}' (local stand-in).",
        errno=2,
        sqlstate="0A000",
    )


def invalid_identifier(name: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"SQL compilation error:\ninvalid identifier '{name}'", errno=904, sqlstate="42000"
    )


def missing_object(name: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"SQL compilation error:\nObject '{name}' does not exist or not authorized.",
        errno=2003,
        sqlstate="02000",
    )


def missing_file(url: str) -> ProgrammingError:
    """The error of COPY for a file that FILES names and the stage does not have."""
    return ProgrammingError(
        msg=f"Remote file '{url}' was not found. If you are running a copy command, please make "
        "sure files are not deleted when they are being loaded.",
        errno=91016,
        sqlstate="22000",
    )
