"""One lock for load, dbt and maintenance, wherever they are started.

A DuckDB file has one writer at a time and refuses the second with an error; this lock makes the
second wait instead. It is an advisory lock on a file beside the warehouse: the system drops it when
the process that holds it ends, however it ends.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import TickhouseError
from app.file_lock import try_lock

log = logging.getLogger("tickhouse.warehouse")

POLL_S = 0.1


class WarehouseBusy(TickhouseError):
    """Another process held the warehouse for longer than we wait."""


@contextmanager
def exclusive(warehouse: Path, purpose: str, timeout_s: float = 600) -> Iterator[int]:
    """Hold the lock of `warehouse`, waiting for it with a sentence in the log.

    :param purpose: what for; others read it while they wait.
    :returns: the lock's file descriptor. A child that inherits it (`pass_fds`) keeps the lock until
        it ends, even if its parent is killed.
    :raises WarehouseBusy: it was not free within `timeout_s`.
    """
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(warehouse.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait(descriptor, warehouse, timeout_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{purpose} (process {os.getpid()})".encode(), 0)
        try:
            yield descriptor
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, warehouse: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    told = False
    while not try_lock(descriptor):
        holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        if not told:
            log.info("the warehouse %s is in use by %s; waiting for it", warehouse, holder)
            told = True
        if time.monotonic() > deadline:
            raise WarehouseBusy(
                f"The warehouse {warehouse} was in use by {holder} for more than {timeout_s:.0f} "
                "s. Let that end, or stop it, and try again."
            )
        time.sleep(POLL_S)
