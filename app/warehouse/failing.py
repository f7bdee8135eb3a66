"""Tasks whose last run failed: since when, in how many runs, and when that was last posted.

They are in `failing.json` beside the warehouse, which the processes of several tasks change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from app.file_lock import wait_for_lock
from app.outputs import write_atomically
from app.settings import Settings

log = logging.getLogger("tickhouse.alerts")


class Failing(Struct, frozen=True):
    """The failures of a task since it last succeeded. Times are UNIX ms."""

    since_ms: int
    """time of the first"""
    runs: int = 1
    """number of runs that failed"""
    posted_ms: int | None = None
    """time of the last one that was posted"""


def failing_tasks(settings: Settings) -> dict[str, Failing]:
    """The tasks of this namespace's warehouse whose last run failed, by `DAG.TASK`.

    :raises OSError: the file exists and cannot be read.
    """
    path = _path(settings)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Failing])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        log.warning("%s cannot be read, it will be replaced: %s", path, error)
        return {}


def count_failure(settings: Settings, task: str, now_ms: int) -> Failing:
    """Count a failed run of `task`; return its failures, this one included.

    :raises OSError: the file cannot be read or written.
    """
    with _changing(settings) as tasks:
        held = tasks.get(task)
        tasks[task] = msgspec.structs.replace(held, runs=held.runs + 1) if held else Failing(now_ms)
        return tasks[task]


def record_post(settings: Settings, task: str, now_ms: int) -> None:
    """Record that the failures of `task` were posted, unless it has succeeded since.

    :raises OSError: the file cannot be read or written.
    """
    with _changing(settings) as tasks:
        if task in tasks:
            tasks[task] = msgspec.structs.replace(tasks[task], posted_ms=now_ms)


def clear_failures(settings: Settings, task: str) -> None:
    """Record that `task` succeeded.

    :raises OSError: the file cannot be read or written.
    """
    with _changing(settings) as tasks:
        tasks.pop(task, None)


@contextmanager
def _changing(settings: Settings) -> Iterator[dict[str, Failing]]:
    """The tasks to change; the file is replaced at the end of the block."""
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("wb") as lock:
        wait_for_lock(lock)
        tasks = failing_tasks(settings)
        yield tasks
        write_atomically(path, msgspec.json.encode(tasks))


def _path(settings: Settings) -> Path:
    return settings.warehouse_path.with_name("failing.json")
