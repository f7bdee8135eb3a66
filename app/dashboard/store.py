"""The candles the page holds in memory, by the rules every reader of candles goes by.

Upsert on (symbol, window_start): a final candle replaces a partial, the highest revision wins; a
partial of a minute whose final is held, or whose `last_offset` is lower than what is held, is
ignored. So the order in which the two topics are read does not matter.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from app.dashboard.bar import MINUTE_MS, Bar
from app.dashboard.day import Day, day_of, joined


class Series:
    """The newest `capacity` bars of one symbol, and which of them changed last."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bars: dict[int, tuple[Bar, int]] = {}
        self._starts: list[int] = []
        self._changed: dict[int, int] = {}
        """Version of each bar's last change; the newest change stands last."""
        self._settled: tuple[tuple[int, int], Day | None] | None = None
        self.version = 0

    def __len__(self) -> int:
        return len(self._starts)

    def upsert(self, bar: Bar, life: int, version: int) -> bool:
        """Take `bar` if the readers' rules let it in; whether anything changed."""
        held = self._bars.get(bar.start)
        if held is None:
            if len(self._starts) >= self._capacity and bar.start < self._starts[0]:
                return False
            insort(self._starts, bar.start)
        elif not _replaces(bar, life, *held):
            return False
        self._bars[bar.start] = (bar, life)
        if held is not None and held[0] == bar:
            return False
        self._changed.pop(bar.start, None)
        self._changed[bar.start] = self.version = version
        if len(self._starts) > self._capacity:
            oldest = self._starts.pop(0)
            del self._bars[oldest], self._changed[oldest]
        return True

    def newest(self, limit: int) -> list[Bar]:
        """The last `limit` bars, oldest first."""
        return [self._bars[start][0] for start in self._starts[-limit:]]

    def since(self, version: int) -> list[Bar]:
        """The bars that changed after `version`, oldest first."""
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

    def day(self) -> Day | None:
        """The newest bar's trading day. All but that bar is added up only when it changed."""
        if not self._starts:
            return None
        newest = self._bars[self._starts[-1]][0]
        others = (v for start, v in reversed(self._changed.items()) if start != newest.start)
        key = (newest.start, next(others, 0))
        if self._settled is None or self._settled[0] != key:
            self._settled = (key, day_of(self.session()[:-1]))
        return joined(self._settled[1], newest)

    def _newest_session_first(self) -> Iterator[Bar]:
        newest = None
        for start in reversed(self._starts):
            bar = self._bars[start][0]
            newest = newest or bar.session_date
            if bar.session_date != newest:
                return
            yield bar


def _replaces(new: Bar, new_life: int, held: Bar, held_life: int) -> bool:
    """Whether `new` takes the place of `held`, both of one minute.

    Offsets and revisions compare only within one life of the topics. Between lives the final with
    the larger trade_count wins, on ties the newer.
    """
    if new.revision is None:
        if held.revision is not None:
            return False
        return new_life != held_life or new.last_offset >= held.last_offset
    if held.revision is None:
        return True
    if new_life != held_life:
        return new.trade_count >= held.trade_count
    return new.revision > held.revision


class CandleStore:
    """A bounded set of series. Every change has a version; readers ask for what is newer."""

    def __init__(self, capacity: int = 1_500, max_symbols: int = 500) -> None:
        self._capacity = capacity
        self._max_symbols = max_symbols
        self._series: dict[str, Series] = {}
        self._life = 0
        self.version = 0
        self.turned_away = 0
        """Candles of symbols that there was no room for."""
        self.last_final_end = 0
        """End of the newest minute that has a final candle, UNIX ms; 0: none yet."""

    def begin_life(self) -> None:
        """The topics were made again: offsets and revisions start anew. Bars stay."""
        self._life += 1

    def apply(self, symbol: str, bar: Bar) -> bool:
        """Take one record of `candles-1m` or `candles-live`; whether anything changed."""
        series = self._series.get(symbol)
        if series is None:
            if len(self._series) >= self._max_symbols:
                self.turned_away += 1
                return False
            series = self._series[symbol] = Series(self._capacity)
        if bar.revision is not None:
            self.last_final_end = max(self.last_final_end, bar.start + MINUTE_MS)
        if not series.upsert(bar, self._life, self.version + 1):
            return False
        self.version += 1
        return True

    def symbols(self) -> list[str]:
        """The symbols that have candles, sorted."""
        return sorted(self._series)

    def series(self, symbol: str) -> Series | None:
        """The series of `symbol`, if it has any candle."""
        return self._series.get(symbol)
