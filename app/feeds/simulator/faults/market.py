"""Apply faults before frames are built: late prints, wrong clocks, bursts."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from random import Random

from app.feeds.simulator.faults.kinds import AnyFault, Burst, ClockFault, Late, Stamp
from app.feeds.simulator.faults.schedule import Script
from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.market.venue import Venue


class MarketFaults:
    """The prints of a venue with faults applied."""

    def __init__(self, venue: Venue, script: Script, rng: Random) -> None:
        self._venue = venue
        self._script = script
        self._rng = rng
        self._delayed: list[tuple[float, int, Print]] = []
        self._count = 0

    def step(self, end_ms: int, symbols: Collection[str]) -> list[Print]:
        """Return the prints of `symbols` that are reported until `end_ms`."""
        prints = self._venue.step(end_ms, symbols)
        prints = self._in_time(self._stamped(prints, symbols, end_ms), end_ms)
        while self._delayed and self._delayed[0][0] <= end_ms:
            trade = heapq.heappop(self._delayed)[2]
            if trade.s in symbols:
                prints.append(trade)
        return prints

    def begin(self, fault: AnyFault, symbols: Collection[str]) -> list[Print]:
        """Return the prints that a fault adds at its beginning."""
        if not isinstance(fault, Burst):
            return []
        prints = self._venue.burst(fault.trades, symbols)
        return self._stamped(prints, symbols, self._venue.at_ms)

    def _stamped(self, prints: list[Print], symbols: Collection[str], now_ms: int) -> list[Print]:
        if clock := self._script.active(ClockFault, now_ms):
            for trade in prints:
                trade.t += int(clock.by_s * 1000)
        if stamp := self._script.active(Stamp, now_ms):
            wrong = _share_of(symbols, stamp)
            for trade in prints:
                if trade.s in wrong:
                    trade.t += int(stamp.by_s * 1000)
        return prints

    def _in_time(self, prints: list[Print], now_ms: int) -> list[Print]:
        late = self._script.active(Late, now_ms)
        if late is None:
            return prints
        in_time = []
        for trade in prints:
            if self._rng.random() < late.share:
                due_ms = now_ms + 1000 * self._rng.uniform(late.least_s, late.most_s)
                self._count += 1
                heapq.heappush(self._delayed, (due_ms, self._count, trade))
            else:
                in_time.append(trade)
        return in_time


def _share_of(symbols: Collection[str], stamp: Stamp) -> set[str]:
    """Return the symbols that a fault affects: the same ones for its entire duration."""
    drawn = sorted(symbols, key=lambda symbol: Random(f"{stamp.at_s}:{symbol}").random())
    return set(drawn[: int(len(drawn) * stamp.share)])
