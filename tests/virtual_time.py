"""An event loop with virtual time: it jumps to the next timer when nothing else is to be done.

Servers and clients in one process run through hours in seconds, over real sockets, as fast as they
compute and independent of the machine's load: while anything is in progress, no time passes.
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

_SOCKET_DELAY_S = 0.00002
"""In real time: for the other end of a socket that was just closed to notice it."""
_LONGEST_S = 0.5
"""In real time: for written data to arrive, and for a full socket to be read."""


class _Selector(selectors.DefaultSelector):
    """Waits for I/O events while there are any; otherwise advances the loop's time.

    :ivar threads: how many threads work for the loop; while one does, no time passes. It is below 0
        while the loop still waits for something that a thread has given up.
    """

    passed_s = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or (timeout > 0 and self.threads > 0):
            return super().select(None)
        events = super().select(0)
        if timeout <= 0 or events:
            return events
        time.sleep(_SOCKET_DELAY_S)
        until_s = time.monotonic() + _LONGEST_S
        while True:
            waits = self._is_under_way() and time.monotonic() < until_s
            if events := super().select(0):  # asked last: what arrived meanwhile is seen
                return events
            if not waits:
                self.passed_s += timeout
                return events
            time.sleep(_SOCKET_DELAY_S)

    def _is_under_way(self) -> bool:
        """Return whether a socket is connecting, waiting to write, or has unacknowledged data."""
        keys = self.get_map().values()
        for key in keys:
            _acknowledge_now(key.fd)
        return any(key.events & selectors.EVENT_WRITE or _unacknowledged(key.fd) for key in keys)


def _acknowledge_now(fd: int) -> None:
    """Make the kernel acknowledge received data at once, instead of after up to 40 ms."""
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as item:  # no TCP connection
        item.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _unacknowledged(fd: int) -> int:
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    except OSError:  # no TCP connection
        return 0
    return int(size)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at time 0; see the module."""

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

    def run_in_thread(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Await a thread that the loop does not know of; time stands still until it ends."""
        task = self.create_task(work)
        self._virtual.threads += 1
        task.add_done_callback(self._came_back)
        return asyncio.shield(task)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Let time pass within the block, while such a thread waits for the loop."""
        self._virtual.threads -= 1
        try:
            yield
        finally:
            self._virtual.threads += 1

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self._virtual.threads -= 1


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` as `asyncio.run` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class LoopClock:
    """A clock for a producer or a simulator that follows the running loop's time.

    :ivar moves: when it was moved forward, by its own time before, and by how much.
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
