"""Where this user's files lie that no data folder owns."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/tickhouse` or `~/.cache/tickhouse`: downloads, and locks of API keys."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickhouse"
