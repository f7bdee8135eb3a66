"""An event loop with virtual time: it jumps to the next timer when nothing else can run.

Servers and clients in one process simulate hours in seconds, over real sockets, at any load of the
machine: while data is in transit or work is pending, no virtual time passes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import selectors
import socket
import struct
import termios
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

_IDLE_S = 0.00002
"""Real time to wait until the peer of a socket notices that it was closed."""
_LONGEST_S = 0.5
"""Of real time: for what was written to arrive, and for a full socket to be read."""


class _Selector(selectors.DefaultSelector):
    """Waits for files as long as there are any news; then lets the loop's time pass instead.

    :ivar threads: how many of them work for the loop; while one does, no time passes. It is below
        0 while the loop still waits for what a thread has given up.
    """

    passed_s = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or (timeout > 0 and self.threads > 0):
            return super().select(None)
        events = super().select(0)
        if timeout <= 0 or events:
            return events
        time.sleep(_IDLE_S)
        until_s = time.monotonic() + _LONGEST_S
        while True:
            waits = self._is_under_way() and time.monotonic() < until_s
            if events := super().select(0):  # asked last: what arrived meanwhile is seen
                return events
            if not waits:
                self.passed_s += timeout
                return events
            time.sleep(_IDLE_S)

    def _is_under_way(self) -> bool:
        """Whether a socket connects, waits to write, or has sent what has not arrived yet."""
        keys = self.get_map().values()
        for key in keys:
            _acknowledge_now(key.fd)
        return any(key.events & selectors.EVENT_WRITE or _unacknowledged(key.fd) for key in keys)


def _acknowledge_now(fd: int) -> None:
    """Make the kernel acknowledge received data now; by default it delays that for up to 40 ms."""
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:  # no TCP connection
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _unacknowledged(fd: int) -> int:
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    except OSError:  # no TCP connection
        return 0
    return int(size)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at time 0; see the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._came_back)
        return future

    def held(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Await a thread that the loop does not know of; it ends, even if nobody waits any more."""
        task = self.create_task(work)
        self._virtual.threads += 1
        task.add_done_callback(self._came_back)
        return asyncio.shield(task)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Time passes in here, as such a thread waits for what the loop does."""
        self._virtual.threads -= 1
        try:
            yield
        finally:
            self._virtual.threads += 1

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self._virtual.threads -= 1


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `asyncio.run` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class LoopClock:
    """The clock of a producer or a simulator on the running loop's time.

    :ivar moves: when it was moved forward, in its own time before that, and by how much.
    """

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._ahead_ms = 0
        self.moves: list[tuple[int, int]] = []

    def now_ms(self) -> int:
        loop_ms = asyncio.get_running_loop().time() * 1000
        return self._start_ms + self._ahead_ms + int(loop_ms + 1e-6)

    def move_forward(self, ms: int) -> None:
        self.moves.append((self.now_ms(), ms))
        self._ahead_ms += ms

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0.0) / 1000)
