"""Silences of an open connection that end by themselves, and whether anything was lost: pure.

Trades come again on a connection, or of a market on it, after a silence that chance does not
explain. Their own times tell what happened meanwhile: where they follow on the last trade before
the silence, they were only delivered late, and nothing was lost. Where they are of the present,
what was traded during the silence never came.
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
"""The median of so many trades: a few that are reported late do not count."""
CAUGHT_UP_MS = 2_000
"""Trades are of the present when they come no later than this after the usual delay."""
_FOLLOWS = 1 / 2
"""Of a silence that is still chance: within so much, trades that come late ever after follow on
those before."""


class SilentGap(NamedTuple):
    """What was traded of `symbols` in this time never came."""

    symbols: tuple[str, ...]
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class _TradeFlow:
    """Trades as they come, of one market or of all.

    :ivar last_ms: when the last came.
    :ivar delays_ms: how long after their own time the last few came.
    """

    last_ms: int
    delays_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))


@dataclass(slots=True, eq=False)
class _EndedSilence:
    """A silence that has ended; what comes behind it shows whether anything was lost.

    :ivar typical_ms: the delay before it.
    :ivar times: when the first trades behind it happened, each once, as a sweep of one moment may
        be reported late as a whole.
    :ivar least_ms: the shortest delay behind it.
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
        """Whether enough trades have come, up to those of the present, or should have by now."""
        patience_ms = max(silence.chance_ms for silence in self.silences)
        enough = self.caught_up and len(self.times) == SAMPLES
        return enough or now_ms - self.at_ms > patience_ms

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
    """The trades of one connection as they arrive, all of them and market by market.

    A frame costs a look at each symbol in it, unless a silence ends with it.

    :param now_ms: when it was opened.
    """

    def __init__(self, now_ms: int) -> None:
        self._all = _TradeFlow(now_ms)
        self._markets: dict[Market, _TradeFlow] = {}
        self._flow_of: dict[str, _TradeFlow] = {}
        self._ended: list[_EndedSilence] = []

    def subscribed(self, symbols: Iterable[str], now_ms: int) -> None:
        """`symbols` are received from now on."""
        for symbol in symbols:
            self._flow_of[symbol] = self._markets.setdefault(market_of(symbol), _TradeFlow(now_ms))

    def traded(
        self, messages: Sequence[Trades], now_ms: int, silences: Callable[[], list[Silence]]
    ) -> list[Silence]:
        """Note the trades of a frame.

        :param silences: asks which markets of the connection have been silent for longer than
            chance explains, before this frame; called only where one may have.
        :returns: the silences that end with this frame.
        """
        ended = self._ending(messages, now_ms, silences)
        for one in self._ended:
            self._observe(one, messages, now_ms)
        for message in messages:
            if flow := self._flow_of.get(message.symbol):
                flow.last_ms = now_ms
                flow.delays_ms.append(now_ms - message.trades[-1].t)
        if messages:
            self._all.last_ms = now_ms
            self._all.delays_ms.append(now_ms - messages[-1].trades[-1].t)
        return ended

    def lost(self, now_ms: int, closing: bool = False) -> list[SilentGap]:
        """What was lost in silences that have ended, once that is known; to be asked each second.

        :param closing: the connection ends now: nothing more can be learned.
        """
        if not self._ended:
            return []
        decided = [one for one in self._ended if closing or one.is_decided(now_ms)]
        self._ended = [one for one in self._ended if one not in decided]
        return [lost for one in decided for lost in one.lost()]

    def moved_forward(self, ms: int) -> None:
        """The clock was behind by `ms` and is right now."""
        for flow in (self._all, *self._markets.values()):
            flow.last_ms += ms
            flow.delays_ms = deque((delay + ms for delay in flow.delays_ms), maxlen=SAMPLES)
        for one in self._ended:
            one.at_ms += ms
            one.typical_ms += ms
            one.least_ms += ms
            one.silences = [s._replace(since_ms=s.since_ms + ms) for s in one.silences]

    def _ending(
        self, messages: Sequence[Trades], now_ms: int, silences: Callable[[], list[Silence]]
    ) -> list[Silence]:
        if not messages:
            return []
        if now_ms - self._all.last_ms > SHORT_MS:
            return self._note(self._all, silences(), now_ms)
        ended = []
        quiet = {
            id(flow): flow
            for message in messages
            if (flow := self._flow_of.get(message.symbol)) and now_ms - flow.last_ms > SHORT_MS
        }
        for flow in quiet.values():
            found = [one for one in silences() if self._flow_of.get(one.symbols[0]) is flow]
            ended += self._note(flow, found, now_ms)
        return ended

    def _note(self, flow: _TradeFlow, silences: list[Silence], now_ms: int) -> list[Silence]:
        if silences:
            typical_ms = round(median(flow.delays_ms)) if flow.delays_ms else 0
            self._ended.append(_EndedSilence(flow, silences, now_ms, typical_ms))
        return silences

    def _observe(self, one: _EndedSilence, messages: Sequence[Trades], now_ms: int) -> None:
        for message in messages:
            if one.flow is self._all or self._flow_of.get(message.symbol) is one.flow:
                times = dict.fromkeys(trade.t for trade in message.trades)
                new = [t for t in times if t not in one.times]
                one.times += new[: SAMPLES - len(one.times)]
                one.least_ms = min(one.least_ms, now_ms - max(times))
