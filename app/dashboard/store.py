"""Candles in memory, kept by the rules that every reader of the candle topics follows.

Upsert on (symbol, window_start): a final candle replaces a partial, the highest revision wins; a
partial is ignored when the final candle is held, or a partial with a higher `last_offset`. So the
order in which the two topics are read does not matter.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from app.dashboard.bar import MINUTE_MS, Bar
from app.dashboard.day import DayTotals, day_totals, with_bar


class BarSeries:
    """The newest `capacity` bars of one symbol, with the version of each bar's last change."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bars: dict[int, tuple[Bar, int]] = {}
        self._starts: list[int] = []
        self._changed: dict[int, int] = {}
        """Version of each bar's last change; the newest change comes last."""
        self._day_cache: tuple[tuple[int, int], DayTotals | None] | None = None
        self.version = 0
        self.evicted = 0
        """Version of the newest change that is no longer held."""

    def __len__(self) -> int:
        return len(self._starts)

    def upsert(self, bar: Bar, incarnation: int, version: int) -> bool:
        """Store `bar` unless a newer one is held; return whether anything changed."""
        held = self._bars.get(bar.start)
        if held is None:
            if len(self._starts) >= self._capacity and bar.start < self._starts[0]:
                return False
            insort(self._starts, bar.start)
        elif not _replaces(bar, incarnation, *held):
            return False
        self._bars[bar.start] = (bar, incarnation)
        if held is not None and held[0] == bar:
            return False
        self._changed.pop(bar.start, None)
        self._changed[bar.start] = self.version = version
        if len(self._starts) > self._capacity:
            oldest = self._starts.pop(0)
            del self._bars[oldest]
            self.evicted = max(self.evicted, self._changed.pop(oldest))
        return True

    def newest(self, limit: int) -> list[Bar]:
        """The last `limit` bars, oldest first."""
        return [self._bars[start][0] for start in self._starts[-limit:]]

    def since(self, version: int) -> list[Bar]:
        """The bars that changed after `version`, oldest first; some are missing if it is older than
        `evicted`.
        """
        starts = []
        for start, changed in reversed(self._changed.items()):
            if changed <= version:
                break
            starts.append(start)
        return [self._bars[start][0] for start in sorted(starts)]

    def session(self) -> list[Bar]:
        """The bars of the newest bar's trading day, oldest first."""
        newest_first = self._newest_session_first()
        return list(newest_first)[::-1]

    def day(self) -> DayTotals | None:
        """Totals of the newest bar's trading day; earlier bars are added up when one changes."""
        if not self._starts:
            return None
        newest = self._bars[self._starts[-1]][0]
        others = (v for start, v in reversed(self._changed.items()) if start != newest.start)
        key = (newest.start, next(others, 0))
        if self._day_cache is None or self._day_cache[0] != key:
            self._day_cache = (key, day_totals(self.session()[:-1]))
        return with_bar(self._day_cache[1], newest)

    def _newest_session_first(self) -> Iterator[Bar]:
        newest = None
        for start in reversed(self._starts):
            bar = self._bars[start][0]
            newest = newest or bar.session_date
            if bar.session_date != newest:
                return
            yield bar


def _replaces(new: Bar, new_incarnation: int, held: Bar, held_incarnation: int) -> bool:
    """Whether `new` replaces `held`, which is of the same minute.

    Offsets and revisions are comparable only within an incarnation of the topics. Between
    incarnations the final candle with the larger trade_count wins, on ties the newer.
    """
    if new.revision is None:
        if held.revision is not None:
            return False
        return new_incarnation != held_incarnation or new.last_offset >= held.last_offset
    if held.revision is None:
        return True
    if new_incarnation != held_incarnation:
        return new.trade_count >= held.trade_count
    return new.revision > held.revision


class CandleStore:
    """Candles of a bounded number of symbols. Every change has a version; readers poll by it."""

    def __init__(self, capacity: int = 1_500, max_symbols: int = 500) -> None:
        self._capacity = capacity
        self._max_symbols = max_symbols
        self._series: dict[str, BarSeries] = {}
        self._incarnation = 0
        self.version = 0
        self.dropped_count = 0
        """Number of candles dropped because the store has `max_symbols` symbols already."""
        self.last_final_end = 0
        """End of the newest minute that has a final candle, UNIX ms; 0 before the first."""

    def begin_incarnation(self) -> None:
        """Handle recreated topics: offsets and revisions start over, bars are kept."""
        self._incarnation += 1

    def apply(self, symbol: str, bar: Bar) -> bool:
        """Apply a record of `candles-1m` or `candles-live`; return whether anything changed."""
        series = self._series.get(symbol)
        if series is None:
            if len(self._series) >= self._max_symbols:
                self.dropped_count += 1
                return False
            series = self._series[symbol] = BarSeries(self._capacity)
        if bar.revision is not None:
            self.last_final_end = max(self.last_final_end, bar.start + MINUTE_MS)
        if not series.upsert(bar, self._incarnation, self.version + 1):
            return False
        self.version += 1
        return True

    def symbols(self) -> list[str]:
        """The symbols that have candles, sorted."""
        return sorted(self._series)

    def series(self, symbol: str) -> BarSeries | None:
        """The series of `symbol`, if it has any candle."""
        return self._series.get(symbol)
