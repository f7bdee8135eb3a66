"""What becomes of a connection's frames on their way: repeated, held back, cut, lost."""

from __future__ import annotations

import heapq
from random import Random
from typing import NamedTuple

from app.feeds.simulator.faults.kinds import (
    AnyFault,
    Disorder,
    Drop,
    Huge,
    Malform,
    Repeat,
    Truncate,
    Twin,
)
from app.feeds.simulator.faults.mangling import huge, malformed, no_frame, truncated
from app.feeds.simulator.faults.schedule import Script


class Outgoing(NamedTuple):
    """A frame as it leaves, and what the delivery log says of it."""

    raw: bytes
    fault: str = ""
    """The kind of the fault that made it, if one did."""
    repeat: bool = False
    """The server repeats itself: the frame's trades were sent before."""
    broken: bool = False
    """Nothing of it can be read."""
    bad: tuple[int, ...] = ()
    """The places of what is no trade."""


class FrameFaults:
    """One connection's frames; the same seed and frames give the same faults."""

    def __init__(self, script: Script, rng: Random) -> None:
        self._script = script
        self._rng = rng
        self._held: list[tuple[float, int, Outgoing]] = []
        self._count = 0

    def pass_on(self, frames: list[bytes], now_ms: int) -> list[Outgoing]:
        """What is sent now: of `frames` most, and of earlier ones those that were held back."""
        going = [out for raw in frames for out in self._faulty(raw, now_ms)]
        going = self._disordered(going, now_ms)
        while self._held and self._held[0][0] <= now_ms:
            going.append(heapq.heappop(self._held)[2])
        return going

    def begin(self, fault: AnyFault, now_ms: int) -> list[Outgoing]:
        """What a fault sends at its beginning."""
        if isinstance(fault, Huge):
            return [Outgoing(huge(fault.size, now_ms), "huge", broken=True)]
        return []

    def _faulty(self, raw: bytes, now_ms: int) -> list[Outgoing]:
        if self._script.hit(Drop, now_ms, self._rng):
            return []
        going = [Outgoing(raw)]
        if self._script.hit(Truncate, now_ms, self._rng):
            going = [Outgoing(truncated(raw, self._rng), "truncate", broken=True)]
        elif self._script.hit(Malform, now_ms, self._rng):
            going = self._malformed(raw, now_ms)
        elif self._script.hit(Twin, now_ms, self._rng):
            going.append(Outgoing(raw, "twin"))
        repeat = self._script.hit(Repeat, now_ms, self._rng)
        if repeat:
            again = [out._replace(fault="repeat", repeat=True) for out in going]
            going += again * (repeat.times - 1)
        return going

    def _malformed(self, raw: bytes, now_ms: int) -> list[Outgoing]:
        nonsense = no_frame(self._rng)
        if nonsense is not None:
            return [Outgoing(nonsense, "malform", broken=True), Outgoing(raw)]
        changed, bad = malformed(raw, now_ms, self._rng)
        return [Outgoing(changed, "malform", bad=tuple(bad))]

    def _disordered(self, going: list[Outgoing], now_ms: int) -> list[Outgoing]:
        in_time = []
        for out in going:
            disorder = self._script.hit(Disorder, now_ms, self._rng)
            if disorder:
                due_ms = now_ms + self._rng.uniform(0, disorder.within_s * 1000)
                self._count += 1
                heapq.heappush(self._held, (due_ms, self._count, out))
            else:
                in_time.append(out)
        return in_time
