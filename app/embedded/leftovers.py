"""One demo a folder, and none of its processes left behind, however it ended.

Every process of a run carries the run's id in its environment, so that the next run finds what a
killed one left: by that id, not by name or number.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from app.embedded.process import EmbeddedError
from app.file_lock import try_lock

MARK = "_TICKHOUSE_RUN"
_GRACE_S = 5.0


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[str]:
    """Hold `folder` for one run and yield the run's id; leftovers of the last one are ended.

    :raises EmbeddedError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("a+") as lock:
        if not try_lock(lock):
            raise EmbeddedError(
                f"A demo is running already with the data folder {folder.resolve()}; end it first, "
                "or set TICKHOUSE_DATA_DIR to another folder."
            )
        lock.seek(0)
        last = lock.read().strip()
        if last:
            end_marked(last)
        run_id = uuid.uuid4().hex
        lock.truncate(0)
        lock.write(run_id)
        lock.flush()
        os.environ[MARK] = run_id
        # A process title written over the environment would hide the mark.
        os.environ["SPT_NOENV"] = "1"
        try:
            yield run_id
        finally:
            end_marked(run_id)
            os.environ.pop(MARK)


def marked(run_id: str) -> list[psutil.Process]:
    """The processes of a run, without this one."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _mark_of(p) == run_id]


def end_marked(run_id: str, grace_s: float = _GRACE_S) -> int:
    """End every process of a run, by force after `grace_s`; returns how many there were."""
    processes = marked(run_id)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_s)
    return len(processes)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):  # another user's, or gone
        return None
