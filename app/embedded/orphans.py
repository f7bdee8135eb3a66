"""Allow one demo per data folder, and end orphan processes of a killed one.

Every process of a run has the run's id in its environment. The next run finds orphans by that id,
not by name or process id.
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

RUN_ID_VARIABLE = "_TICKHOUSE_RUN"
_GRACE_S = 5.0


@contextlib.contextmanager
def single_run(folder: Path) -> Iterator[str]:
    """Lock `folder` for a run, end orphans of the previous run, and yield the run's id.

    At the end, end the remaining processes of this run.

    :raises EmbeddedError: another run holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("a+") as lock:
        if not try_lock(lock):
            raise EmbeddedError(
                f"A demo is running already with the data folder {folder.resolve()}; stop it "
                "first, or set TICKHOUSE_DATA_DIR to another folder."
            )
        lock.seek(0)
        last = lock.read().strip()
        if last:
            end_run(last)
        run_id = uuid.uuid4().hex
        lock.truncate(0)
        lock.write(run_id)
        lock.flush()
        os.environ[RUN_ID_VARIABLE] = run_id
        # A process title written over the environment would hide the run id.
        os.environ["SPT_NOENV"] = "1"
        try:
            yield run_id
        finally:
            end_run(run_id)
            os.environ.pop(RUN_ID_VARIABLE)


def is_running(folder: Path) -> bool:
    """Return whether a run holds the lock of `folder`."""
    try:
        with (folder / "demo.lock").open("r+") as lock:
            return not try_lock(lock)
    except OSError:
        return False


def processes_of_run(run_id: str) -> list[psutil.Process]:
    """Return the processes of a run, except this one."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _run_id_of(p) == run_id]


def end_run(run_id: str, grace_s: float = _GRACE_S) -> int:
    """Terminate every process of a run, kill it after `grace_s`; return the number of processes."""
    processes = processes_of_run(run_id)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_s)
    return len(processes)


def _run_id_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(RUN_ID_VARIABLE)
    except (psutil.Error, OSError):  # another user's process, or it has ended
        return None
