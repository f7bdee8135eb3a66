"""The producer's clock: starts at the system time and ignores later changes of it.

All code in the producer that reads the time or sleeps uses one injected clock. With
`SteadyClock(speed=30)` ten minutes pass in twenty seconds. Each process has its own clock, because
`move_forward` changes it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# counts time asleep; on macOS, which lacks it, CLOCK_MONOTONIC does
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """A clock in UNIX milliseconds that never goes back."""

    def now_ms(self) -> int:
        """Return the current time."""

    def move_forward(self, ms: int) -> None:
        """Advance the clock permanently by `ms`, because trades show that the time is later."""

    async def sleep(self, ms: float) -> None:
        """Wait until `ms` have passed on this clock."""


class SteadyClock:
    """The clock of a process. Changes of the system clock after the start do not affect it.

    :param speed: how many seconds of this clock pass per second.
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
    """A clock that tests and playback advance explicitly. Sleeping on it advances it, too."""

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
