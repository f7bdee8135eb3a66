"""The schedule of a fault script: which faults are active, and which have begun."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

from app.feeds.simulator.faults.kinds import AnyFault, Fault, Sampled

_F = TypeVar("_F", bound=Fault)
_S = TypeVar("_S", bound=Sampled)


class Script:
    """Faults on the simulator's clock.

    :param start_ms: second 0 of the script, in UNIX ms.
    """

    def __init__(self, faults: Iterable[AnyFault], start_ms: int) -> None:
        self._faults = sorted(faults, key=lambda fault: fault.at_s)
        self._start_ms = start_ms
        self._begun = 0

    def begun(self, now_ms: int) -> list[AnyFault]:
        """Return the faults that began until `now_ms` and were not returned before."""
        first = self._begun
        while self._begun < len(self._faults) and self._at(self._begun) <= now_ms:
            self._begun += 1
        return self._faults[first : self._begun]

    def active(self, kind: type[_F], now_ms: int) -> _F | None:
        """Return the active fault of `kind`; of several, the one that began last."""
        s = (now_ms - self._start_ms) / 1000
        found = None
        for fault in self._faults:
            if fault.at_s > s:
                break
            if isinstance(fault, kind) and s < fault.end_s:
                found = fault
        return found

    def hit(self, kind: type[_S], now_ms: int, rng: Random) -> _S | None:
        """Return the active fault of `kind`, if it affects the current item."""
        fault = self.active(kind, now_ms)
        return fault if fault and rng.random() < fault.share else None

    def _at(self, index: int) -> float:
        return self._start_ms + self._faults[index].at_s * 1000
