"""Folders of the user that belong to no data folder, and syncing folders to disk."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from app.errors import TickhouseError


class FolderError(TickhouseError):
    """A folder cannot be used."""


def cache_folder() -> Path:
    """Return the folder for downloads and locks of API keys, `~/.cache/tickhouse` by default.

    :raises FolderError: this user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "tickhouse"
    try:
        return Path.home() / ".cache" / "tickhouse"
    except RuntimeError:
        raise FolderError(
            "HOME is not set, and this user has no home folder. Set HOME or XDG_CACHE_HOME to a "
            "folder that it may write to."
        ) from None


_PROBE_BYTES = 4096
_NOT_IN_DUCKDB = "?\\"
"""DuckDB opens another path than the one with these: it reads `?` as the begin of a query, and
`\\` as `/`."""


def check_data_folder(folder: Path) -> None:
    """Create the data folder if it is missing, and check that files can be created in it.

    :raises FolderError: they cannot, or DuckDB cannot open files there.
    """
    if found := sorted(set(_NOT_IN_DUCKDB) & set(str(folder.resolve()))):
        raise FolderError(
            f"The data folder {folder.resolve()} has {' and '.join(found)} in its path, and DuckDB "
            "cannot open files there. Set TICKHOUSE_DATA_DIR to another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))  # an empty file fits on a full disk
    except OSError as error:
        raise FolderError(
            f"The data folder {folder} cannot be written to: {error.strerror}. Correct its "
            "permissions or free some space, or set TICKHOUSE_DATA_DIR to another folder."
        ) from None


def file_sentence(error: OSError) -> str | None:
    """Return a sentence for an error about a file; None if it is about no file."""
    if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = " to ".join(named) or "A file"
    return (
        f"{what} cannot be used: {error.strerror}. Correct its permissions or free some space, or "
        "set TICKHOUSE_DATA_DIR (data) or XDG_CACHE_HOME (downloads) to a folder that this user "
        "may write to."
    )


def sync_folder(folder: Path) -> None:
    """Force the names of a folder's files to disk, as a new or renamed file requires.

    :raises OSError: the disk reports an error.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
