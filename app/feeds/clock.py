"""The producer's clock: wall time at start, carried on by a clock that is never set."""

from __future__ import annotations

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


class SteadyClock:
    """The clock of a process: later settings of the wall clock do not reach it."""

    def __init__(self) -> None:
        self._ahead_ns = time.time_ns() - time.clock_gettime_ns(_STEADY)

    def now_ms(self) -> int:
        return (time.clock_gettime_ns(_STEADY) + self._ahead_ns) // 1_000_000

    def move_forward(self, ms: int) -> None:
        if ms < 0:
            raise ValueError(f"the clock is never set back, not even by {-ms} ms")
        self._ahead_ns += ms * 1_000_000


class ManualClock:
    """A clock that its owner moves."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def move_forward(self, ms: int) -> None:
        if ms < 0:
            raise ValueError(f"the clock is never set back, not even by {-ms} ms")
        self._now_ms += ms
