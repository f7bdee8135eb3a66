"""Folders of the user that belong to no data folder, and syncing folders to disk."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for downloads and locks of API keys, `~/.cache/tickhouse` by default."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickhouse"


def sync_folder(folder: Path) -> None:
    """Force the names of a folder's files to disk, as a new or renamed file requires.

    :raises OSError: the disk reports an error.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
