"""An event loop whose time is not real: it jumps to the next timer when nothing else is to be done.

Servers and clients of one process live through hours in seconds, over real sockets, as fast as
they compute and however busy the machine is: while anything is under way, no time passes.
"""

from __future__ import annotations

import asyncio
import fcntl
import selectors
import struct
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLE_S = 0.00002
"""Of real time: for what was just written to a socket to be readable at its other end."""


_FLOW_S = 0.5
"""Of real time: for a full socket to be read."""
_SIOCOUTQNSD = 0x894B


class _Selector(selectors.DefaultSelector):
    """Waits for files as long as there are any news; then lets the loop's time pass instead.

    :ivar threads: how many of them work for the loop; while one does, no time passes.
    """

    passed_s = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or (timeout > 0 and self.threads):
            return super().select(None)
        events = super().select(0)
        if timeout <= 0 or events:
            return events
        time.sleep(_SETTLE_S)
        events = super().select(_FLOW_S if self._is_writing() else 0)
        if not events:
            self.passed_s += timeout
        return events

    def _is_writing(self) -> bool:
        """Whether a socket holds what it could not send yet, as its other end is full."""
        return any(
            key.events & selectors.EVENT_WRITE or _unsent(key.fd) for key in self.get_map().values()
        )


def _unsent(fd: int) -> int:
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(fd, _SIOCOUTQNSD, bytes(4)))
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
