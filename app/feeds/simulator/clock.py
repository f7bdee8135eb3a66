"""The simulator's time: real in the process, any other in tests."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the simulator asks of a clock."""

    def now_ms(self) -> int:
        """UNIX ms; never falls."""
        ...

    async def sleep(self, ms: float) -> None:
        """Come back when `ms` have passed on this clock."""
        ...


class SystemClock:
    """Wall time at start, carried on by a clock that counts a laptop's sleep and is never set."""

    def __init__(self) -> None:
        self._start_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ms(self) -> int:
        return (self._start_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0.0) / 1000)
