"""Build one-minute candles from trades, quotes and watermarks: the pure core.

`SymbolCandles` holds the open minutes of one symbol and applies the messages of `stocks-topic` in
order. The same messages always produce the same records, at any speed and however often the worker
was restarted. The rules are in `docs/topology.md`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import getcontext, setcontext
from typing import Literal, NamedTuple

from app.contracts import (
    FUTURE_MS,
    Candle,
    Message,
    Quote,
    Rejection,
    Trades,
    Watermark,
)
from app.exact import EXACT
from app.market.conditions import PriceClass
from app.market.sessions import Session, session_of
from topologies.core.condition_effects import ConditionEffect, ConditionEffects, condition_effects
from topologies.core.prints import Identities, Identity
from topologies.core.rollup import NEVER, Rollups
from topologies.core.sources import Sources
from topologies.core.window import (
    MINUTE_MS,
    NOT_EMITTED,
    UNREPORTED,
    CandlePeriod,
    CandleSeries,
    Status,
    Window,
    candle_of,
)

PARTIAL_EVERY_MS = 100
COVERAGE_EVERY_MS = 1_000
"""Minimum time, by `received_at`, between two revisions that only change the coverage."""

_QUOTE = int(PriceClass.QUOTE)


@dataclass(frozen=True, slots=True)
class Rules:
    """Candle settings: the feed, which trades set prices, and how long to wait for late trades."""

    feed: Literal["live", "simulated", "replay"]
    price_rule: Literal["sip", "all"] = "sip"
    grace_ms: int = 5_000
    allowed_lateness_ms: int = 900_000
    live: bool = True
    """Whether to emit partial candles."""


class Outcome(NamedTuple):
    """The output of one message."""

    records: list[Candle]
    """Final and revised candles, for candles-1m."""
    partials: list[Candle]
    """Partial candles, for candles-live."""
    rejections: list[Rejection]
    rollups: list[Candle]
    """Partial, final and revised rollups, each for the topic of its interval."""


NO_OUTPUT = Outcome([], [], [], [])


class SymbolCandles:
    """The open minutes of one symbol. Apply its messages in the order of the topic."""

    __slots__ = (
        "_regular",
        "changed",
        "counters",
        "coverage",
        "coverage_pending",
        "coverage_slot",
        "dropped",
        "due",
        "identities",
        "largest_t",
        "next_due_ms",
        "partial_slot",
        "rollups",
        "rules",
        "series",
        "sources",
        "symbol",
        "touched",
        "watermark",
        "watermark_basis_t",
        "windows",
    )

    def __init__(self, symbol: str, rules: Rules, counters: Counter[str]) -> None:
        self.symbol = symbol
        self.rules = rules
        self._regular = condition_effects(Session.REGULAR, rules.price_rule)
        """For minutes that are not open: whether a trade counts is the same in all sessions."""
        self.counters = counters
        """Counts of unusual messages and trades by kind, shared by all symbols of a worker."""
        self.windows: dict[int, Window] = {}
        self.identities: dict[int, Identities] = {}
        self.coverage: dict[int, dict[str, int]] = {}
        """Covered milliseconds by minute start and source."""
        self.coverage_pending: set[int] = set()
        """Starts of final windows whose coverage differs from that in their newest record."""
        self.coverage_slot = -1
        """Largest `received_at // COVERAGE_EVERY_MS` of the messages that revised only coverage."""
        self.series = CandleSeries(symbol, rules.feed, rules.price_rule)
        self.rollups = Rollups(self.series, rules.allowed_lateness_ms)
        self.sources = Sources()
        self.largest_t = 0
        self.watermark_basis_t = 0
        """Largest min(t, received_at) of accepted and duplicate trades."""
        self.watermark = 0
        self.partial_slot = -1
        """`received_at // PARTIAL_EVERY_MS` of the message that last emitted partials."""
        self.changed: set[int] = set()
        """Starts of open windows that changed since their last partial candle."""
        self.due: set[int] = set()
        """Starts of final windows that this message revises; empty between messages."""
        self.next_due_ms = NEVER
        """The watermark at which the next window or rollup becomes final or is dropped."""
        self.touched: set[int] = set()
        """Starts of windows that changed since the last save."""
        self.dropped: list[tuple[int, int]] = []
        """(start, number of chunks) of each window dropped since the last save."""

    def apply(self, message: Message, offset: int, indices: tuple[int, ...] | None) -> Outcome:
        """Apply one message and return its output.

        :param offset: the message's offset in its partition.
        :param indices: the original indices of the message's trades; None if no trade was removed.
        """
        outer = getcontext()
        if outer is EXACT:
            return self._apply(message, offset, indices)
        setcontext(EXACT)  # makes operators exact, at a quarter of the cost of methods
        try:
            return self._apply(message, offset, indices)
        finally:
            setcontext(outer)

    def _apply(self, message: Message, offset: int, indices: tuple[int, ...] | None) -> Outcome:
        rejections: list[Rejection] = []
        kind = type(message)
        if kind is Trades:
            self._trades(message, offset, indices, rejections)  # type: ignore[arg-type]
            reached = self.watermark_basis_t - self.rules.grace_ms
        elif kind is Watermark:
            self._watermark(message, offset)  # type: ignore[arg-type]
            reached = self.sources.watermark()
        else:
            self._quote(message, offset, rejections)  # type: ignore[arg-type]
            reached = 0  # quotes never move the watermark
        if reached > self.watermark:
            self.watermark = reached
        if self.coverage_pending:
            self._schedule_coverage_revisions(message.received_at // COVERAGE_EVERY_MS)
        records: list[Candle] = []
        rollups: list[Candle] = []
        if self.due or self.watermark >= self.next_due_ms:
            records, rollups = self._records()
        partials: list[Candle] = []
        if self.changed and self.rules.live:
            slot = message.received_at // PARTIAL_EVERY_MS
            if slot != self.partial_slot or kind is Watermark:
                self.partial_slot = slot
                partials = self._partials()
        if records or partials or rejections or rollups:
            return Outcome(records, partials, rejections, rollups)
        return NO_OUTPUT

    def _trades(
        self,
        message: Trades,
        offset: int,
        indices: tuple[int, ...] | None,
        rejections: list[Rejection],
    ) -> None:
        """Apply trades, searching for a window only when the minute changes: the hot loop."""
        received_at, largest_t, watermark_basis_t = (
            message.received_at,
            self.largest_t,
            self.watermark_basis_t,
        )
        latest = received_at + FUTURE_MS
        late: list[int] = []
        future: list[int] = []
        window: Window | None = None
        start = end = -1
        for index, trade in enumerate(message.trades):
            t = trade.t
            if not start <= t < end:
                if t > latest:
                    future.append(index)
                    continue
                start = t - t % MINUTE_MS
                end = min(start + MINUTE_MS, latest + 1)
                window, effects = None, self._effects_at(start)
            c = trade.c
            effect = effects[tuple(c) if c else ()]
            if not effect.counts:
                self.counters["not_a_trade"] += 1
                continue
            if window is None:
                window = self.windows.get(start) or self._open(start, offset)
                if window is None:
                    late.append(index)
                    continue
                self._touch(window, offset)
                identities = self.identities[start]
                seen, fresh, known = identities.seen, identities.fresh, len(identities.seen)
                effects = identities.effects
                effect = effects[effect.codes]
            p, v = trade.p, trade.v
            identity = Identity(t, p, v, effect.codes, trade.k)
            seen.add(identity)
            if len(seen) == known:
                window.duplicate_count += 1
            else:
                known += 1
                fresh.append(identity)
                if t < largest_t:
                    window.out_of_order_count += 1
                else:
                    largest_t = t
                if effect.unknown or window.revision >= 0:
                    self._count_unusual(window, effect)
                window.take(t, p, v, effect)
            arrived = t if t < received_at else received_at
            if arrived > watermark_basis_t:
                watermark_basis_t = arrived
        self.largest_t, self.watermark_basis_t = largest_t, watermark_basis_t
        if late:
            rejections.append(Rejection("late", _LATE, _original(late, indices)))
        if future:
            rejections.append(Rejection("future", _FUTURE, _original(future, indices)))

    def _effects_at(self, start: int) -> ConditionEffects:
        """Return the condition effects for the minute from `start`, open or not."""
        identities = self.identities.get(start)
        return self._regular if identities is None else identities.effects

    def _count_unusual(self, window: Window, effect: ConditionEffect) -> None:
        """Count a trade that has an unknown condition or revises a final candle."""
        if effect.unknown:
            self.counters["unknown_condition"] += 1
        if window.revision >= 0:
            window.late_count += 1
            self.due.add(window.start)

    def _quote(self, quote: Quote, offset: int, rejections: list[Rejection]) -> None:
        t = quote.t * 1000
        if t > quote.received_at + FUTURE_MS:
            rejections.append(Rejection("future", _FUTURE, None))
            return
        start = t - t % MINUTE_MS
        window = None
        if quote.c > 0 and quote.received_at < start + MINUTE_MS + self.rules.allowed_lateness_ms:
            window = self.windows.get(start) or self._open(start, offset)
        if window is None:
            self.counters["unusable_quote"] += 1
            return
        if t in window.quote_times:
            self.counters["repeated_quote"] += 1
            return
        window.quote_times.add(t)
        self.touched.add(start)
        if window.price(_QUOTE, t, quote.c):
            self._touch(window, offset)
            if window.revision >= 0:
                self.due.add(window.start)

    def _watermark(self, message: Watermark, offset: int) -> None:
        start, covered_ms = message.minute_start, message.covered_ms
        if start is not None and covered_ms is not None:
            if message.gap_since is not None:
                for minute in self._gap_minutes(message.gap_since, start):
                    self._cover(minute, message.source, covered_ms, offset)
            self._cover(start, message.source, covered_ms, offset)
        self.sources.update(message.source, message.t)

    def _cover(self, start: int, source: str, covered_ms: int, offset: int) -> None:
        """Record how much of the minute from `start` a source reports as covered."""
        if self._is_past(start):
            return
        before = self._covered(start)
        self.coverage.setdefault(start, {})[source] = covered_ms
        self.next_due_ms = min(self.next_due_ms, start + MINUTE_MS + self.rules.allowed_lateness_ms)
        window = self.windows.get(start)
        if window is None or window.revision < 0 or (covered := self._covered(start)) == before:
            return
        self._touch(window, offset)
        if covered == window.emitted_covered_ms:
            self.coverage_pending.discard(start)
        else:
            self.coverage_pending.add(start)

    def _schedule_coverage_revisions(self, slot: int) -> None:
        """Make pending coverage revisions due, at most once per second, or when a minute is past.

        All minutes of a symbol share this second. A rollup always equals the merge of its minutes'
        newest records, so rollups are not revised more often either.
        """
        released = self.coverage_pending - self.due
        if slot <= self.coverage_slot:
            released = {start for start in released if self._is_past(start)}
        if released:
            self.due |= released
            self.coverage_slot = max(self.coverage_slot, slot)

    def find_pending_coverage(self) -> None:
        """Find final windows whose coverage differs from that of their newest records."""
        for start, window in self.windows.items():
            if window.revision < 0:
                continue
            reported = self._covered(start)
            covered = UNREPORTED if reported is None else reported
            if window.emitted_covered_ms == NOT_EMITTED:  # saved by an earlier version
                window.emitted_covered_ms = covered
            elif window.emitted_covered_ms != covered:
                self.coverage_pending.add(start)

    def _gap_minutes(self, since: int, last: int) -> set[int]:
        """Return the minutes of a gap from `since` up to `last`: open ones, and recent ones.

        Recent means within the allowed lateness before `last`. Older minutes that are not open are
        past, unless the source's clock is far behind.
        """
        first = max(since, last - self.rules.allowed_lateness_ms)
        opened = {start for start in self.windows if since < start + MINUTE_MS <= last}
        return opened.union(range(first - first % MINUTE_MS, last, MINUTE_MS))

    def _covered(self, start: int) -> int | None:
        by_source = self.coverage.get(start)
        return max(by_source.values()) if by_source else None

    def _is_past(self, start: int) -> bool:
        """Return whether the minute from `start` can no longer change."""
        return self.watermark >= start + MINUTE_MS + self.rules.allowed_lateness_ms

    def _open(self, start: int, offset: int) -> Window | None:
        """Open the minute from `start`; return None if it is past."""
        if self._is_past(start):
            return None
        session, session_date = session_of(self.symbol, self.rules.feed, start)
        window = self.windows[start] = Window(start, session, session_date, offset, offset)
        self.identities[start] = Identities(condition_effects(session, self.rules.price_rule))
        self.next_due_ms = min(self.next_due_ms, start + MINUTE_MS)
        return window

    def _touch(self, window: Window, offset: int) -> None:
        window.last_offset = offset
        self.touched.add(window.start)
        if window.revision < 0:
            self.changed.add(window.start)

    def _records(self) -> tuple[list[Candle], list[Candle]]:
        """Emit the records that are due, minutes in order and then rollups; drop past minutes."""
        watermark = self.watermark
        records = []
        emitted = []
        for start in sorted(self.windows):
            window = self.windows[start]
            if window.revision < 0 and watermark >= start + MINUTE_MS:
                window.revision = 0
                self.changed.discard(start)
                record = self._record(window, "final")
            elif start in self.due:
                window.revision += 1
                record = self._record(window, "revised")
            else:
                continue
            records.append(record)
            self.touched.add(start)
            self.coverage_pending.discard(start)
            window.emitted_duplicates = window.duplicate_count
            window.emitted_offset = window.last_offset
            covered_ms = record.covered_ms
            window.emitted_covered_ms = UNREPORTED if covered_ms is None else covered_ms
            emitted.append(window)
        self.due.clear()
        rollups = self.rollups.records(emitted, self.windows, watermark)
        if watermark >= self.next_due_ms:
            self._drop_past()
        return records, rollups

    def _drop_past(self) -> None:
        self.rollups.drop_past(self.watermark)
        for start in [start for start in self.windows if self._is_past(start)]:
            window = self.windows.pop(start)
            self.rollups.fold(window)
            self.dropped.append((start, window.chunks))
            del self.identities[start]
            self.touched.discard(start)
        for start in [start for start in self.coverage if self._is_past(start)]:
            del self.coverage[start]
        self.schedule()

    def schedule(self) -> None:
        """Compute the watermark at which the next window or rollup becomes final or is dropped."""
        past = MINUTE_MS + self.rules.allowed_lateness_ms
        self.next_due_ms = min(
            (s + (past if w.revision >= 0 else MINUTE_MS) for s, w in self.windows.items()),
            default=NEVER,
        )
        self.next_due_ms = min(self.next_due_ms, self.rollups.next_due_ms(self.watermark))
        if self.coverage:
            self.next_due_ms = min(self.next_due_ms, min(self.coverage) + past)

    def _partials(self) -> list[Candle]:
        partials = []
        for start in sorted(self.changed):
            partials.append(self._record(self.windows[start], "partial"))
        self.changed.clear()
        return partials

    def _record(self, window: Window, status: Status) -> Candle:
        covered_ms = self._covered(window.start)
        start, session = window.start, window.session
        period = CandlePeriod("1m", start, start + MINUTE_MS, session, window.session_date)
        return candle_of(window, period, self.series, status, window.revision, covered_ms)


_LATE = "the watermark had passed the end of the trade's minute by the allowed lateness"
_FUTURE = f"the time lies more than {FUTURE_MS // 1000} s ahead of received_at"


def _original(kept: list[int], indices: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the indices in the original message of the trades at the positions `kept`."""
    return tuple(kept) if indices is None else tuple(indices[i] for i in kept)
