"""Apply faults to a connection's frames: repeat, delay, truncate, drop."""

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


class OutgoingFrame(NamedTuple):
    """A frame to send, with its annotations for the delivery log."""

    raw: bytes
    fault: str = ""
    """The kind of the fault that caused it, if any."""
    repeat: bool = False
    """Whether the server repeats itself: the frame's trades were sent before."""
    broken: bool = False
    """Whether nothing of it can be parsed."""
    bad: tuple[int, ...] = ()
    """The indices of entries that are not trades."""


class FrameFaults:
    """Faults of one connection's frames. The same seed and frames give the same faults."""

    def __init__(self, script: Script, rng: Random) -> None:
        self._script = script
        self._rng = rng
        self._delayed: list[tuple[float, int, OutgoingFrame]] = []
        self._count = 0

    def pass_on(self, frames: list[bytes], now_ms: int) -> list[OutgoingFrame]:
        """Return the frames to send now: most of `frames`, and earlier ones that were delayed."""
        going = [out for raw in frames for out in self._faulty(raw, now_ms)]
        going = self._disordered(going, now_ms)
        while self._delayed and self._delayed[0][0] <= now_ms:
            going.append(heapq.heappop(self._delayed)[2])
        return going

    def begin(self, fault: AnyFault, now_ms: int) -> list[OutgoingFrame]:
        """Return the frames that a fault sends at its beginning."""
        if isinstance(fault, Huge):
            return [OutgoingFrame(huge(fault.size, now_ms), "huge", broken=True)]
        return []

    def _faulty(self, raw: bytes, now_ms: int) -> list[OutgoingFrame]:
        if self._script.hit(Drop, now_ms, self._rng):
            return []
        going = [OutgoingFrame(raw)]
        if self._script.hit(Truncate, now_ms, self._rng):
            going = [OutgoingFrame(truncated(raw, self._rng), "truncate", broken=True)]
        elif self._script.hit(Malform, now_ms, self._rng):
            going = self._malformed(raw, now_ms)
        elif self._script.hit(Twin, now_ms, self._rng):
            going.append(OutgoingFrame(raw, "twin"))
        repeat = self._script.hit(Repeat, now_ms, self._rng)
        if repeat:
            again = [out._replace(fault="repeat", repeat=True) for out in going]
            going += again * (repeat.times - 1)
        return going

    def _malformed(self, raw: bytes, now_ms: int) -> list[OutgoingFrame]:
        nonsense = no_frame(self._rng)
        if nonsense is not None:
            return [OutgoingFrame(nonsense, "malform", broken=True), OutgoingFrame(raw)]
        changed, bad = malformed(raw, now_ms, self._rng)
        return [OutgoingFrame(changed, "malform", bad=tuple(bad))]

    def _disordered(self, going: list[OutgoingFrame], now_ms: int) -> list[OutgoingFrame]:
        in_time = []
        for out in going:
            disorder = self._script.hit(Disorder, now_ms, self._rng)
            if disorder:
                due_ms = now_ms + self._rng.uniform(0, disorder.within_s * 1000)
                self._count += 1
                heapq.heappush(self._delayed, (due_ms, self._count, out))
            else:
                in_time.append(out)
        return in_time
