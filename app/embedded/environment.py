"""Convert settings to environment variables for child processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.settings import Settings


def as_variables(settings: Settings) -> dict[str, str]:
    """Return the variables of all settings that have a value.

    They contain secrets: never log them.
    """
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {name.upper(): _text(value) for name, value in values.items() if value is not None}


def child_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment, with its settings replaced by `settings`."""
    ours = {name.upper() for name in type(settings).model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    return kept | as_variables(settings)


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Path):
        return str(value.resolve())
    return str(value)
