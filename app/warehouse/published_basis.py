"""Which published file the next one may start from.

`basis.json`, beside the published files, names the newest of them and the build that wrote it. It
is written last and holds only while the ledger's last build is that very one: after a crash between
publishing and the ledger, or in a warehouse restored from a copy, the next file is written anew. It
is removed before dbt changes anything but what new rows bring (another project, a full refresh, a
rebuild), so a crash there leaves none either.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from app.folders import sync_folder
from app.outputs import write_atomically
from app.settings import Settings
from app.warehouse import published
from app.warehouse.interface import Build
from app.warehouse.published import Basis, current_path, folder

UPDATES = 60
"""Number of files that start from one another before one is written anew: of its own data DuckDB
reuses space with a delay, and rows that somebody changed by hand enter gold at last."""


class _Record(msgspec.Struct):
    file: str
    finished_at: datetime
    """of the build that wrote it"""
    updates: int
    """number of files since the last that was written anew"""
    definition: str


def basis_of(settings: Settings, last: Build | None) -> Basis | None:
    """The current file, if it has exactly the gold of build `last`."""
    record, path = _read(settings), current_path(settings)
    if record is None or path is None or last is None:
        return None
    is_of_last = record.file == path.name and record.finished_at == last.finished_at
    may_grow = record.updates < UPDATES and record.definition == _definition()
    return Basis(path, last.load_id) if is_of_last and may_grow else None


def record_basis(settings: Settings, path: Path, build: Build, *, is_update: bool) -> None:
    """Record that `build` wrote `path`.

    :param is_update: it started from the file before it.
    """
    before = _read(settings) if is_update else None
    updates = before.updates + 1 if before is not None else 0
    record = _Record(path.name, build.finished_at, updates, _definition())
    write_atomically(_path(settings), msgspec.json.encode(record))


def clear_basis(settings: Settings) -> None:
    """Have the next file written anew, also after a crash of the machine."""
    path = _path(settings)
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def _read(settings: Settings) -> _Record | None:
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=_Record)
    except (FileNotFoundError, msgspec.DecodeError):  # there is none, or another version wrote it
        return None


def _path(settings: Settings) -> Path:
    return folder(settings) / "basis.json"


def _definition() -> str:
    """A digest of the code that writes the files: those of another version may have other rows."""
    return hashlib.sha256(Path(published.__file__).read_bytes()).hexdigest()[:16]
