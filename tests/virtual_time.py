"""An event loop whose time is not real: it jumps to the next timer when nothing else is to be done.

Servers and clients of one process live through hours in seconds, over real sockets, as fast as
they compute and however busy the machine is: while anything is under way, no time passes.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLE_S = 0.00002
"""Of real time: for what was just written to a socket to be readable at its other end."""


class _Selector(selectors.DefaultSelector):
    """Waits for files as long as there are any news; then lets the loop's time pass instead."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        if timeout <= 0 or events:
            return events
        time.sleep(_SETTLE_S)
        events = super().select(0)
        if not events:
            self.passed_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at time 0; see the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed_s


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
