"""Decide whether a connection still delivers trades, from the activity of its markets: pure.

Pings prove that the server is alive, not that data arrives. Trades prove it, in an open market and
of symbols that are known to trade. A market whose symbols bring no trades for longer than chance
explains has stalled, even if another market's trades still arrive on the same connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from app.contracts import FeedName
from app.market.sessions import Session, session_of
from app.market.symbols import SymbolClass, symbol_class

IsOpen = Callable[[str, int], bool]
"""Returns whether a symbol's market is open for regular trading at a time (UNIX ms)."""

Market = tuple[SymbolClass, str]
"""The class of the market's symbols, and their venue if they name one."""

SILENCE_MS = 90_000
UNLIKELY_GAPS = 20
"""A silence of 20 mean gaps is not chance: its probability is e^-20 for independent trades."""
MIN_GAPS = 3
SHORT_MS = 10_000
"""A shorter silence always counts as chance."""
MAX_DOUBLINGS = 3
_WEIGHT = 1 / 16
_SHORTEST_GAP_MS, _LONGEST_GAP_MS = 1_000, 600_000


class StalledMarket(NamedTuple):
    """Symbols that brought no trades in an open market, and for how long."""

    symbols: tuple[str, ...]
    silent_ms: int


class Silence(NamedTuple):
    """Symbols of a market that are silent for longer than chance explains.

    :ivar since_ms: the time until which they were received.
    :ivar chance_ms: the longest silence that chance would explain.
    """

    symbols: tuple[str, ...]
    since_ms: int
    chance_ms: float


@dataclass(slots=True)
class _SymbolActivity:
    """How often one symbol trades.

    :ivar last_ms: when its last trade arrived.
    :ivar gap_since_ms: when the current gap between trades began; None after a new subscription.
    :ivar gap_ms: mean time between its trades; trades within one second count once.
    :ivar replacements: how often its connection was replaced since its last trade.
    """

    last_ms: int = 0
    gap_since_ms: int | None = None
    gap_ms: float = 0.0
    gaps: int = 0
    replacements: int = 0
    stale: bool = False


class ActivityTracker:
    """Tracks how often each symbol trades, over all connections of a source.

    :param silence_ms: how long an open market may be silent before its connection is replaced. The
        time doubles with each replacement without effect, at most three times.
    """

    def __init__(self, is_open: IsOpen, silence_ms: int = SILENCE_MS) -> None:
        self._is_open = is_open
        self._silence_ms = silence_ms
        self._symbols: dict[str, _SymbolActivity] = {}

    def traded(self, symbols: Iterable[str], now_ms: int) -> None:
        """Record that trades of `symbols` arrived."""
        for symbol in symbols:
            known = self._symbols.get(symbol) or self._symbols.setdefault(symbol, _SymbolActivity())
            known.last_ms = now_ms
            known.replacements = 0
            if known.gap_since_ms is None:
                known.gap_since_ms = now_ms
            elif now_ms - known.gap_since_ms >= _SHORTEST_GAP_MS:
                gap_ms = min(now_ms - known.gap_since_ms, _LONGEST_GAP_MS)
                known.gaps += 1
                known.gap_ms += max(_WEIGHT, 1 / known.gaps) * (gap_ms - known.gap_ms)
                known.gap_since_ms = now_ms

    def subscribed(self, symbols: Iterable[str]) -> None:
        """Record a new subscription of `symbols`; the time before it does not count as a gap."""
        for symbol in symbols:
            if known := self._symbols.get(symbol):
                known.gap_since_ms = None

    def moved_forward(self, ms: int) -> None:
        """Adjust to a clock that was moved forward by `ms`."""
        for known in self._symbols.values():
            known.last_ms += ms
            if known.gap_since_ms is not None:
                known.gap_since_ms += ms

    def last_ms(self, symbol: str) -> int | None:
        """Return when the last trade of `symbol` arrived; None if none did."""
        known = self._symbols.get(symbol)
        return known.last_ms or None if known else None

    def stalls(self, since_ms: Mapping[str, int], now_ms: int) -> list[StalledMarket]:
        """Return the markets of a connection that have stalled.

        :param since_ms: since when each symbol is subscribed on the connection.
        """
        found = []
        for symbols in _markets(since_ms):
            silent_ms = now_ms - self._last_received_ms(symbols, since_ms)
            doublings = min(self._replacements(symbol) for symbol in symbols)
            timeout_ms = max(self._silence_ms, self._unlikely_ms(symbols) or 0.0)
            timeout_ms *= 2 ** min(doublings, MAX_DOUBLINGS)
            if silent_ms > timeout_ms and self._was_open(symbols, now_ms, timeout_ms):
                found.append(StalledMarket(tuple(symbols), silent_ms))
        return found

    def replaced(self, stalls: Iterable[StalledMarket]) -> None:
        """Record that the connection of `stalls` is replaced because of them."""
        for stall in stalls:
            for symbol in stall.symbols:
                self._symbols.setdefault(symbol, _SymbolActivity()).replacements += 1

    def silences(
        self, since_ms: Mapping[str, int], now_ms: int, stalled: Collection[str] = ()
    ) -> list[Silence]:
        """Return the markets of a connection that are silent for longer than chance explains.

        A market was received until the connection's last trade, or until its own last trade if
        other markets continued much longer. If all open markets together are silent for longer than
        chance explains, each of them is, however rarely it trades.

        :param since_ms: since when each symbol is subscribed on the connection.
        :param stalled: symbols whose market has stalled.
        """
        received_ms = {
            market: self._last_received_ms(market, since_ms) for market in _markets(since_ms)
        }
        newest_ms = self._last_received_ms(since_ms, since_ms) if since_ms else now_ms
        all_chance_ms = self._all_chance_ms(received_ms, now_ms)
        found = []
        for market, own_ms in received_ms.items():
            chance_ms = self._chance_ms(market)
            all_silent = self._is_silent(market, newest_ms, now_ms, all_chance_ms)
            if market[0] in stalled or self._is_silent(market, own_ms, now_ms, chance_ms):
                chance_ms = SHORT_MS if chance_ms == inf else chance_ms
                if newest_ms - own_ms > chance_ms:
                    found.append(Silence(market, own_ms, chance_ms))
                    continue
                chance_ms = min(chance_ms, all_chance_ms) if all_silent else chance_ms
                found.append(Silence(market, newest_ms, chance_ms))
            elif all_silent:
                found.append(Silence(market, newest_ms, all_chance_ms))
        return found

    def covered_until(
        self, since_ms: Mapping[str, int], now_ms: int, stalled: Collection[str] = ()
    ) -> dict[int, list[str]]:
        """Return until when the symbols of a connection that ends now were received, by time.

        The time is now, except for markets that were silent for longer than chance explains
        (`silences`).
        """
        silent_since = {
            symbol: silence.since_ms
            for silence in self.silences(since_ms, now_ms, stalled)
            for symbol in silence.symbols
        }
        ends: dict[int, list[str]] = {}
        for symbol in since_ms:
            ends.setdefault(silent_since.get(symbol, now_ms), []).append(symbol)
        return ends

    def newly_stale(self, symbols: Iterable[str], now_ms: int) -> list[tuple[str, int]]:
        """Return the symbols that became silent beyond chance since the last call.

        :returns: symbol and silence in ms.
        """
        found = []
        for symbol in symbols:
            known = self._symbols.get(symbol)
            if known is None or not known.last_ms:
                continue
            silent_ms = now_ms - known.last_ms
            timeout_ms = max(self._silence_ms, self._unlikely_ms((symbol,)) or float("inf"))
            stale = silent_ms > timeout_ms and self._was_open((symbol,), now_ms, timeout_ms)
            if stale and not known.stale:
                found.append((symbol, silent_ms))
            known.stale = stale
        return found

    def _last_received_ms(self, symbols: Collection[str], since_ms: Mapping[str, int]) -> int:
        subscribed_ms = min(since_ms[symbol] for symbol in symbols)
        known = (self._symbols[symbol].last_ms for symbol in symbols if symbol in self._symbols)
        return max(subscribed_ms, max(known, default=0))

    def _unlikely_ms(self, symbols: Iterable[str]) -> float | None:
        """Return the silence of all `symbols` that is too long for chance; None if unknown."""
        activity = (self._symbols.get(symbol) for symbol in symbols)
        per_ms = sum(1 / p.gap_ms for p in activity if p and p.gaps >= MIN_GAPS)
        return UNLIKELY_GAPS / per_ms if per_ms else None

    def _chance_ms(self, symbols: Iterable[str]) -> float:
        """Return the longest silence of all `symbols` that chance explains; infinite if unknown."""
        unlikely_ms = self._unlikely_ms(symbols)
        return inf if unlikely_ms is None else max(SHORT_MS, unlikely_ms)

    def _all_chance_ms(self, markets: Iterable[tuple[str, ...]], now_ms: int) -> float:
        """Return the longest silence that chance explains for all open markets together."""
        return self._chance_ms(
            symbol for market in markets if self._is_open(market[0], now_ms) for symbol in market
        )

    def _is_silent(
        self, symbols: Collection[str], received_ms: int, now_ms: int, chance_ms: float
    ) -> bool:
        return now_ms - received_ms > chance_ms and self._was_open(symbols, now_ms, chance_ms)

    def _replacements(self, symbol: str) -> int:
        known = self._symbols.get(symbol)
        return known.replacements if known else 0

    def _was_open(self, symbols: Collection[str], now_ms: int, for_ms: float) -> bool:
        """Return whether the market is open now, and was `for_ms` ago."""
        item = next(iter(symbols))
        return self._is_open(item, now_ms) and self._is_open(item, now_ms - int(for_ms))


def market_open(feed: FeedName) -> IsOpen:
    """Return a function for when the symbols of `feed` trade. A simulated market is always open."""

    def is_open(symbol: str, at_ms: int) -> bool:
        session = session_of(symbol, feed, at_ms).session
        return session in (Session.REGULAR, Session.CONTINUOUS)

    return is_open


def abbreviated(symbols: Sequence[str]) -> str:
    """Return the first three symbols and the number of others, for a log line."""
    more = len(symbols) - 3
    return ", ".join(symbols[:3]) + (f" and {more} more" if more > 0 else "")


def market_of(symbol: str) -> Market:
    """Return the market of `symbol`: symbols that open and close together.

    It is the class of the symbol, and its venue if it names one.
    """
    return symbol_class(symbol), symbol.partition(":")[0] if ":" in symbol else ""


def _markets(symbols: Iterable[str]) -> list[tuple[str, ...]]:
    markets: dict[Market, list[str]] = {}
    for symbol in symbols:
        markets.setdefault(market_of(symbol), []).append(symbol)
    return [tuple(market) for market in markets.values()]
