"""Advisory locks on open files: the system drops one when its file is closed or its process ends.

A child process that inherits the file descriptor shares the lock.
"""

from __future__ import annotations

import fcntl
from typing import IO, Any


def try_lock(file: IO[Any] | int) -> bool:
    """Take the exclusive lock of an open file if it is free; returns whether it was.

    :raises OSError: the file system cannot lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(file: IO[Any] | int) -> None:
    """Take the exclusive lock of an open file, waiting until it is free.

    :raises OSError: the file system cannot lock.
    """
    fcntl.flock(file, fcntl.LOCK_EX)
