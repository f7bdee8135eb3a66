"""Roll one-minute candles up to 5 and 15 minutes, an hour and a day: pure, like `candle.py`.

After every message a rollup equals the merge of its minutes' newest records. Minutes that can no
longer change are folded into one sum per rollup, so state does not grow with the rollup's length.
The rules are in `docs/topology.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from app.contracts import ROLLUP_TOPICS, Candle, Interval
from app.exact import canonical
from app.market.rollup_periods import RollupPeriod, rollup_periods
from app.market.sessions import Session
from topologies.core.sums import NO_PRICE, NO_TRADES, CandleSums, merge
from topologies.core.window import CandlePeriod, CandleSeries, Status, Window, candle_of

INTERVALS: tuple[Interval, ...] = tuple(ROLLUP_TOPICS)
NEVER = 1 << 62

Key = tuple[int, int]
"""Identifies a rollup of a symbol: index of its interval in `INTERVALS`, start in UNIX ms."""


def sums_of(window: Window) -> CandleSums:
    """Return the sums of a minute as of its newest record."""
    covered_ms = window.emitted_covered_ms
    return CandleSums(
        window.price_class,
        window.open,
        window.high,
        window.low,
        window.close,
        window.open_time,
        window.high_time,
        window.low_time,
        window.close_time,
        window.volume,
        window.notional,
        window.trade_count,
        window.eligible_count,
        window.odd_lot_count,
        window.odd_lot_volume,
        window.zero_volume_count,
        window.late_count,
        window.out_of_order_count,
        window.emitted_duplicates,
        window.first_offset,
        window.emitted_offset,
        covered_ms if covered_ms >= 0 else None,
    )


def contribution(minute: CandleSums, session: Session, period: RollupPeriod) -> CandleSums:
    """Return what a minute of `session` adds: all sums, or only volume to a stock's day."""
    if period.session is session:
        return minute
    if session is Session.PRE:
        return CandleSums(pre_volume=minute.volume)
    return CandleSums(post_volume=minute.volume)


class Rollup(Struct, array_like=True, gc=False):
    """One open rollup of one symbol."""

    start: int
    end: int
    session: Session
    session_date: str
    revision: int = -1
    """Revision of the newest record; -1 while the rollup is open."""
    past: CandleSums = NO_TRADES
    """Sums of its minutes that can no longer change."""
    now: CandleSums = NO_TRADES
    """Sums of all its minutes."""


class Rollups:
    """The open rollups of one symbol, updated whenever one of its minutes has a new record."""

    __slots__ = ("allowed_lateness_ms", "dropped", "open", "series", "touched")

    def __init__(self, series: CandleSeries, allowed_lateness_ms: int) -> None:
        self.series = series
        self.allowed_lateness_ms = allowed_lateness_ms
        self.open: dict[Key, Rollup] = {}
        self.touched: set[Key] = set()
        """Rollups that changed since the last save."""
        self.dropped: list[Key] = []
        """Rollups dropped since the last save."""

    def records(
        self,
        emitted: Iterable[Window],
        windows: Mapping[int, Window],
        watermark: int,
    ) -> list[Candle]:
        """Emit the records that one message causes, at most one per rollup.

        :param emitted: the minutes with a new record.
        :param windows: all open minutes of the symbol.
        :param watermark: the symbol's watermark (UNIX ms).
        """
        changed = self._take(emitted, windows)
        records = []
        for key in sorted(self.open):
            rollup = self.open[key]
            if rollup.now.price_class == NO_PRICE:
                continue  # a day with pre- or post-market volume only
            if rollup.revision < 0 and watermark >= rollup.end:
                rollup.revision = 0
                records.append(self._record(key, rollup, "final"))
            elif key in changed and rollup.revision < 0:
                records.append(self._record(key, rollup, "partial"))
            elif key in changed:
                rollup.revision += 1
                records.append(self._record(key, rollup, "revised"))
            else:
                continue
            self.touched.add(key)
        return records

    def _take(self, emitted: Iterable[Window], windows: Mapping[int, Window]) -> set[Key]:
        """Apply the minutes with new records; return the rollups that changed."""
        before: dict[Key, CandleSums] = {}
        revised: dict[Key, RollupPeriod] = {}
        for window in emitted:
            minute = sums_of(window)
            for period in rollup_periods(window.start, window.session, window.session_date):
                key = period[:2]
                rollup = self.open.get(key) or self._open(key, period, window.session_date)
                before.setdefault(key, rollup.now)
                if window.revision:
                    revised[key] = period
                else:
                    rollup.now = merge(rollup.now, contribution(minute, window.session, period))
        for key, period in revised.items():
            self.open[key].now = self._merged(period, windows)
        changed = {key for key, then in before.items() if self.open[key].now != then}
        self.touched |= changed
        return changed

    def _open(self, key: Key, period: RollupPeriod, session_date: str) -> Rollup:
        rollup = self.open[key] = Rollup(period.start, period.end, period.session, session_date)
        self.touched.add(key)
        return rollup

    def _merged(self, period: RollupPeriod, windows: Mapping[int, Window]) -> CandleSums:
        """Merge all minutes of a rollup that have a record."""
        merged = self.open[period[:2]].past
        for start, window in windows.items():
            if period.start <= start < period.end and window.revision >= 0:
                minute = sums_of(window)
                merged = merge(merged, contribution(minute, window.session, period))
        return merged

    def fold(self, window: Window) -> None:
        """Fold a minute that can no longer change into its open rollups."""
        minute = sums_of(window)
        for period in rollup_periods(window.start, window.session, window.session_date):
            rollup = self.open.get(period[:2])
            if rollup is not None:
                rollup.past = merge(rollup.past, contribution(minute, window.session, period))
                self.touched.add(period[:2])

    def drop_past(self, watermark: int) -> None:
        """Drop rollups that can no longer change; call it before their last minutes are folded."""
        for key in [
            k for k, r in self.open.items() if watermark >= r.end + self.allowed_lateness_ms
        ]:
            del self.open[key]
            self.touched.discard(key)
            self.dropped.append(key)

    def next_due_ms(self, watermark: int) -> int:
        """Return the watermark at which the next rollup becomes final or is dropped."""
        return min(
            (
                r.end if watermark < r.end else r.end + self.allowed_lateness_ms
                for r in self.open.values()
            ),
            default=NEVER,
        )

    def _record(self, key: Key, rollup: Rollup, status: Status) -> Candle:
        now, interval = rollup.now, INTERVALS[key[0]]
        period = CandlePeriod(
            interval, rollup.start, rollup.end, rollup.session, rollup.session_date
        )
        candle = candle_of(now, period, self.series, status, rollup.revision, now.covered_ms)
        if interval == "1d" and rollup.session is Session.REGULAR:
            candle.pre_volume = canonical(now.pre_volume)
            candle.post_volume = canonical(now.post_volume)
        return candle
