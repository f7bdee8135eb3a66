"""Progress of loads, builds and audits, for readers that must not open the warehouse.

DuckDB allows one process to have a database open for writing, and dbt has it for most of a build.
So each load, build and audit writes its result to `progress.json` beside the warehouse as well.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from app.outputs import write_atomically
from app.settings import Settings

log = logging.getLogger("tickhouse.warehouse")


class LoadProgress(Struct, frozen=True):
    """The newest load: its number, the time it ended (UNIX ms), and objects rejected in it."""

    load_id: int
    ended_ms: int
    rejected_objects: int = 0


class BuildProgress(Struct, frozen=True):
    """A build: the load it went up to, its end (UNIX ms), and why it failed, if it did."""

    load_id: int
    ended_ms: int
    failure: str | None = None
    outdated: bool = False
    """Rows of silver were built by SQL that has changed since."""


class AuditProgress(Struct, frozen=True):
    """An audit up to the newest session date: its end (UNIX ms), its counts, and its failure."""

    ended_ms: int
    compared: int
    """candles and rollups"""
    failure: str | None = None
    """what differs, or that there was nothing to compare"""


class Progress(Struct, frozen=True):
    """The newest load, the last successful build, the newest build if it failed, and the audit."""

    load: LoadProgress | None = None
    build: BuildProgress | None = None
    failed_build: BuildProgress | None = None
    audit: AuditProgress | None = None


def read_progress(settings: Settings) -> Progress:
    """Read the progress of this namespace's warehouse; empty before the first load."""
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=Progress)
    except FileNotFoundError:
        return Progress()
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s cannot be read, it will be replaced: %s", _path(settings), error)
        return Progress()


def now_ms() -> int:
    """The machine's time, UNIX ms."""
    return time.time_ns() // 1_000_000


def record_load(settings: Settings, load: LoadProgress) -> None:
    """Record the newest load. The caller holds the warehouse's lock."""
    _write(settings, msgspec.structs.replace(read_progress(settings), load=load))


def record_build(settings: Settings, build: BuildProgress) -> None:
    """Record a build that ended. The caller holds the warehouse's lock."""
    held = read_progress(settings)
    if build.failure is None:
        _write(settings, msgspec.structs.replace(held, build=build, failed_build=None))
    else:
        _write(settings, msgspec.structs.replace(held, failed_build=build))


def record_audit(settings: Settings, audit: AuditProgress) -> None:
    """Record the newest audit. The caller holds the warehouse's lock."""
    _write(settings, msgspec.structs.replace(read_progress(settings), audit=audit))


def _path(settings: Settings) -> Path:
    return settings.warehouse_path.with_name("progress.json")


def _write(settings: Settings, progress: Progress) -> None:
    write_atomically(_path(settings), msgspec.json.encode(progress))
