"""Decide whether trades were lost during a silence of an open connection: pure.

A silence that is too long to be chance ends when trades arrive again, on the connection or for one
of its markets. The times of these trades show what happened. If they continue where the trades
before the silence ended, they were only delivered late. If they are current, the trades of the
silence were lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, median_high
from typing import NamedTuple

from app.contracts import Trades
from app.feeds.live.staleness import SHORT_MS, Market, Silence, market_of

SAMPLES = 9
"""The median of this many trades is used, so that a few late reports do not matter."""
CAUGHT_UP_MS = 2_000
"""Trades are current if their delay exceeds the typical delay by at most this."""
_FOLLOWS = 1 / 2
"""Trades that stay late must continue within this share of the longest silence by chance after the
trades before the silence.
"""


class SilentGap(NamedTuple):
    """Trades of `symbols` in this time were never received."""

    symbols: tuple[str, ...]
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class _TradeFlow:
    """The arrival of trades, of one market or of all.

    :ivar last_ms: when the last trade arrived.
    :ivar delays_ms: how long after their own time the last few trades arrived.
    """

    last_ms: int
    delays_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))


@dataclass(slots=True, eq=False)
class _EndedSilence:
    """A silence that has ended; the trades after it show whether any were lost.

    :ivar typical_ms: the typical delay before the silence.
    :ivar times: the distinct times of the first trades after it. Equal times count once, because
        all trades of a sweep may be reported late.
    :ivar least_ms: the shortest delay after it.
    """

    flow: _TradeFlow
    silences: list[Silence]
    at_ms: int
    typical_ms: int
    times: list[int] = field(default_factory=list)
    least_ms: float = float("inf")

    @property
    def caught_up(self) -> bool:
        return self.least_ms <= self.typical_ms + CAUGHT_UP_MS

    def is_decided(self, now_ms: int) -> bool:
        """Return whether enough trades have arrived to decide, or should have by now."""
        timeout_ms = max(silence.chance_ms for silence in self.silences)
        enough = self.caught_up and len(self.times) == SAMPLES
        return enough or now_ms - self.at_ms > timeout_ms

    def lost(self) -> list[SilentGap]:
        resumed_ms = median_high(self.times) + self.typical_ms
        found = []
        for symbols, start_ms, chance_ms in self.silences:
            gap_ms = resumed_ms - start_ms
            if gap_ms > (chance_ms if self.caught_up else chance_ms * _FOLLOWS):
                end_ms = min(resumed_ms, self.at_ms) if self.caught_up else self.at_ms
                found.append(SilentGap(symbols, start_ms, end_ms))
        return found


class Arrivals:
    """The arrival of one connection's trades, overall and per market.

    :param now_ms: when the connection was opened.
    """

    def __init__(self, now_ms: int) -> None:
        self._all = _TradeFlow(now_ms)
        self._markets: dict[Market, _TradeFlow] = {}
        self._flow_of: dict[str, _TradeFlow] = {}
        self._ended: list[_EndedSilence] = []

    def subscribed(self, symbols: Iterable[str], now_ms: int) -> None:
        """Note that `symbols` are received from now on."""
        for symbol in symbols:
            self._flow_of[symbol] = self._markets.setdefault(market_of(symbol), _TradeFlow(now_ms))

    def traded(
        self, messages: Sequence[Trades], now_ms: int, silences: Callable[[], list[Silence]]
    ) -> list[Silence]:
        """Process the trades of a frame.

        :param silences: returns the markets of the connection that were silent for longer than
            chance explains, before this frame; called only where there may be one.
        :returns: the silences that end with this frame.
        """
        ended = self._ending(messages, now_ms, silences)
        for silence in self._ended:
            self._observe(silence, messages, now_ms)
        for message in messages:
            if flow := self._flow_of.get(message.symbol):
                flow.last_ms = now_ms
                flow.delays_ms.append(now_ms - message.trades[-1].t)
        if messages:
            self._all.last_ms = now_ms
            self._all.delays_ms.append(now_ms - messages[-1].trades[-1].t)
        return ended

    def lost(self, now_ms: int, closing: bool = False) -> list[SilentGap]:
        """Return the losses in ended silences, once decided. Call it every second.

        :param closing: whether the connection ends now, so that nothing more can be learned.
        """
        if not self._ended:
            return []
        decided = [ended for ended in self._ended if closing or ended.is_decided(now_ms)]
        self._ended = [ended for ended in self._ended if ended not in decided]
        return [lost for ended in decided for lost in ended.lost()]

    def moved_forward(self, ms: int) -> None:
        """Adjust to a clock that was moved forward by `ms`."""
        for flow in (self._all, *self._markets.values()):
            flow.last_ms += ms
            flow.delays_ms = deque((delay + ms for delay in flow.delays_ms), maxlen=SAMPLES)
        for ended in self._ended:
            ended.at_ms += ms
            ended.typical_ms += ms
            ended.least_ms += ms
            ended.silences = [s._replace(since_ms=s.since_ms + ms) for s in ended.silences]

    def _ending(
        self, messages: Sequence[Trades], now_ms: int, silences: Callable[[], list[Silence]]
    ) -> list[Silence]:
        if not messages:
            return []
        if now_ms - self._all.last_ms > SHORT_MS:
            return self._record_ended(self._all, silences(), now_ms)
        ended = []
        quiet = {
            id(flow): flow
            for message in messages
            if (flow := self._flow_of.get(message.symbol)) and now_ms - flow.last_ms > SHORT_MS
        }
        for flow in quiet.values():
            found = [
                silence for silence in silences() if self._flow_of.get(silence.symbols[0]) is flow
            ]
            ended += self._record_ended(flow, found, now_ms)
        return ended

    def _record_ended(
        self, flow: _TradeFlow, silences: list[Silence], now_ms: int
    ) -> list[Silence]:
        if silences:
            typical_ms = round(median(flow.delays_ms)) if flow.delays_ms else 0
            self._ended.append(_EndedSilence(flow, silences, now_ms, typical_ms))
        return silences

    def _observe(self, silence: _EndedSilence, messages: Sequence[Trades], now_ms: int) -> None:
        for message in messages:
            if silence.flow is self._all or self._flow_of.get(message.symbol) is silence.flow:
                times = dict.fromkeys(trade.t for trade in message.trades)
                new = [t for t in times if t not in silence.times]
                silence.times += new[: SAMPLES - len(silence.times)]
                silence.least_ms = min(silence.least_ms, now_ms - max(times))
