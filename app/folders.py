"""Where this user's files lie that no data folder owns."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/tickhouse` or `~/.cache/tickhouse`: downloads, and locks of API keys."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickhouse"


def sync_folder(folder: Path) -> None:
    """Force the names of a folder's files to the disk, as a new or renamed one needs.

    :raises OSError: the disk refuses.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
