"""Folders outside the data folder, and syncing folders to disk."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/tickhouse` or `~/.cache/tickhouse`: downloads and locks of API keys."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickhouse"


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, as needed after a file is created or renamed.

    :raises OSError: fsync failed.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
