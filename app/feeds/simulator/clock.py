"""The simulator's time: real in the process, any other in tests."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.feeds.clock import SteadyClock


class Clock(Protocol):
    """What the simulator asks of a clock: to tell the time and to wait on it."""

    def now_ms(self) -> int:
        """UNIX ms; never falls."""
        ...

    async def sleep(self, ms: float) -> None:
        """Come back when `ms` have passed on this clock."""
        ...


class RealClock(SteadyClock):
    """The process's steady clock, waited on in real time."""

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0.0) / 1000)
