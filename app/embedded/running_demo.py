"""Find the running demo, so that other commands can inspect it.

The demo chooses free ports; while it runs, its settings are in a file of its data folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from app.embedded.environment import as_variables
from app.embedded.orphans import is_running
from app.embedded.plan import demo_settings
from app.outputs import write_atomically
from app.settings import Settings, load_settings

FILE = "demo.env"


@contextlib.contextmanager
def announced(settings: Settings) -> Iterator[None]:
    """Keep the demo's settings in its data folder, readable by this user only."""
    path = _path(settings)
    lines = [f"{name}='{_escaped(value)}'" for name, value in as_variables(settings).items()]
    write_atomically(path, "\n".join([*lines, ""]), mode=0o600)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_demo(given: Settings) -> Settings | None:
    """Return the settings of the demo running with the data folder of `given`; None without one."""
    path = _path(demo_settings(given))
    if not (path.exists() and is_running(given.tickhouse_data_dir)):
        return None
    values = dotenv_values(path, interpolate=False)
    return load_settings(**{name.lower(): value for name, value in values.items()})


def _path(settings: Settings) -> Path:
    return settings.home / FILE


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
