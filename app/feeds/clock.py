"""The producer's clock: wall time at start, carried on by a clock that is never set.

Everything in a running producer that asks for the time or waits, asks one clock that it is given:
with a faster one (`SteadyClock(speed=30)`) ten minutes of its life pass in twenty seconds. Each
process, or part of a test, that stands for one has a clock of its own: `move_forward` changes it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# counts a laptop's sleep; where it is missing (macOS), the monotonic clock does
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """UNIX milliseconds that never fall."""

    def now_ms(self) -> int:
        """The time."""

    def move_forward(self, ms: int) -> None:
        """Go `ms` ahead for good; the trades say that the time is later than was thought."""

    async def sleep(self, ms: float) -> None:
        """Come back when `ms` have passed on this clock."""


class SteadyClock:
    """The clock of a process: later settings of the wall clock do not reach it.

    :param speed: how many seconds of this clock pass in a second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._wall_ns = time.time_ns()
        self._steady_ns = time.clock_gettime_ns(_STEADY)

    def now_ms(self) -> int:
        passed_ns = (time.clock_gettime_ns(_STEADY) - self._steady_ns) * self._speed
        return (self._wall_ns + int(passed_ns)) // 1_000_000

    def move_forward(self, ms: int) -> None:
        _check_forward(ms)
        self._wall_ns += ms * 1_000_000

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0.0) / 1000 / self._speed)


class ManualClock:
    """A clock that its owner moves; who waits on it moves it, too."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def move_forward(self, ms: int) -> None:
        _check_forward(ms)
        self._now_ms += ms

    async def sleep(self, ms: float) -> None:
        self._now_ms += round(max(ms, 0.0))
        await asyncio.sleep(0)


def _check_forward(ms: int) -> None:
    if ms < 0:
        raise ValueError(f"the clock is never set back, not even by {-ms} ms")
