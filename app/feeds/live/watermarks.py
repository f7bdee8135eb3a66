"""Emit watermarks, and with them the coverage of each minute: pure.

A watermark states that the source sends nothing of the symbol older than `t` from here on, except
what the feed itself reports late. It also carries the coverage of a minute. The coverage is emitted
when the producer's clock reaches the end of the minute + grace, before any trade that was received
at that time or later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from app.contracts import Watermark
from app.feeds.live.coverage import Coverage, CoverageCheckpoint
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import MINUTE_MS, LostSpan, minute_of
from app.market.sessions import FIRST_MS

NewestT = Callable[[str, int], int]
"""Returns the time up to which the feed has sent a symbol's trades, given the producer's clock."""


@dataclass(slots=True)
class _Symbol:
    coverage: Coverage
    first_minute: int
    """The minute in which it was subscribed; this source does not report earlier ones."""
    emitted: dict[int, int] = field(default_factory=dict)
    t: int = FIRST_MS
    """Its newest watermark, which never decreases."""
    traded: bool = False
    until_ms: int | None = None
    """For a removed symbol: the end of its last minute + allowed lateness."""


class Watermarks:
    """The watermarks of one source.

    :param symbols: the subscribed symbols.
    :param now_ms: the producer's clock at its start.
    :param newest_t: `ClockSkew.newest_t`.
    :param checkpoint: the checkpoint of the previous run.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        symbols: Iterable[str],
        now_ms: int,
        newest_t: NewestT,
        checkpoint: CoverageCheckpoint | None = None,
    ) -> None:
        self._feed = config.feed
        self._source = config.source
        self._grace_ms = config.grace_ms
        self._allowed_lateness_ms = config.allowed_lateness_ms
        self._newest_t = newest_t
        self._moves: list[tuple[int, int]] = []
        self._symbols: dict[str, _Symbol] = {}
        if checkpoint is not None and checkpoint.at_ms > now_ms:
            checkpoint = None  # the clock was set back since then: the checkpoint is in the future
        self._resumed = checkpoint is not None
        covered = checkpoint.covered if checkpoint else {}
        for name in dict.fromkeys((*symbols, *covered)):
            self._symbols[name] = _restored(covered.get(name), minute_of(now_ms))
        for name in covered.keys() - set(symbols):
            last = max(covered[name], default=minute_of(now_ms))
            self._symbols[name].until_ms = last + MINUTE_MS + config.allowed_lateness_ms
        self._next_minute = min(
            (symbol.first_minute for symbol in self._symbols.values()), default=minute_of(now_ms)
        )

    def resume(self, now_ms: int) -> list[Watermark]:
        """Report the minute in which the previous run ended, and every minute since then."""
        if not self._resumed:
            return []
        messages = self.minutes(now_ms)
        for minute in range(self._next_minute, now_ms + 1, MINUTE_MS):
            for name, symbol in self._symbols.items():
                t = min(self._reached(name, symbol, now_ms), minute + MINUTE_MS)
                covered = symbol.coverage.covered_ms(minute, now_ms)
                messages.append(self._watermark(name, t, now_ms, minute, covered))
        return messages

    def add(self, symbols: Iterable[str], now_ms: int) -> None:
        """Report `symbols` from now on."""
        for name in symbols:
            self._symbols.setdefault(name, _restored(None, minute_of(now_ms))).until_ms = None

    def remove(self, symbols: Iterable[str], now_ms: int) -> None:
        """Report `symbols` only until the end of the current minute + allowed lateness."""
        for name in symbols:
            symbol = self._symbols[name]
            symbol.coverage.close(now_ms)
            symbol.until_ms = minute_of(now_ms) + MINUTE_MS + self._allowed_lateness_ms

    def end_ms(self, symbol: str) -> float:
        """Return until when (UNIX ms, exclusive) watermarks finalize trades of `symbol`.

        It is infinite while the symbol is subscribed, and 0 if it never was or has no more
        watermarks.
        """
        known = self._symbols.get(symbol)
        if known is None:
            return 0
        return inf if known.until_ms is None else known.until_ms

    def connected(self, symbols: Iterable[str], now_ms: int) -> None:
        """Record that `symbols` were subscribed."""
        for name in symbols:
            self._symbols[name].coverage.open(now_ms)

    def disconnected(self, symbols: Iterable[str], at_ms: int, now_ms: int) -> list[Watermark]:
        """End the coverage of `symbols` at `at_ms`; return corrections of minutes already emitted.

        :param at_ms: counted back from `now_ms` on the clock as it is now.
        """
        messages: list[Watermark] = []
        at_ms = self._clock_at(at_ms)
        for name in symbols:
            symbol = self._symbols[name]
            symbol.coverage.close(at_ms)
            messages += self._gap_beyond_lateness(name, symbol, at_ms, now_ms, now_ms)
            messages += self._corrections(name, symbol, now_ms)
        return messages

    def silent(
        self, symbols: Iterable[str], start_ms: int, end_ms: int, now_ms: int
    ) -> list[Watermark]:
        """Remove a span in which nothing arrived from the coverage of `symbols`.

        Both times are counted back from `now_ms`. Minutes already emitted are corrected.
        """
        messages: list[Watermark] = []
        start_ms, end_ms = self._clock_at(start_ms), self._clock_at(end_ms)
        for name in symbols:
            if symbol := self._symbols.get(name):
                symbol.coverage.cut(start_ms, end_ms)
                messages += self._gap_beyond_lateness(name, symbol, start_ms, end_ms, now_ms)
                messages += self._corrections(name, symbol, now_ms)
        return messages

    def lost(self, lost: LostSpan, now_ms: int) -> list[Watermark]:
        """Correct the minutes of messages that do not reach Kafka.

        Minutes whose coverage is no longer known are corrected to zero.
        """
        from_ms = now_ms - self._allowed_lateness_ms if lost.from_ms is None else lost.from_ms
        to_ms = now_ms if lost.to_ms is None else lost.to_ms
        messages: list[Watermark] = []
        for name in self._symbols if lost.symbol is None else (lost.symbol,):
            if symbol := self._symbols.get(name):
                symbol.coverage.lose(from_ms, to_ms)
                messages += self._correct_unknown_minutes(name, symbol, from_ms, to_ms, now_ms)
                messages += self._corrections(name, symbol, now_ms)
        return messages

    def _corrections(self, name: str, symbol: _Symbol, now_ms: int) -> Iterator[Watermark]:
        """Yield the minutes whose coverage differs from what was emitted."""
        for minute, value in symbol.emitted.items():
            covered = symbol.coverage.covered_ms(minute, now_ms)
            if covered != value:
                symbol.emitted[minute] = covered
                t = self._reached(name, symbol, now_ms)
                yield self._watermark(name, t, now_ms, minute, covered)

    def _correct_unknown_minutes(
        self, name: str, symbol: _Symbol, from_ms: int, to_ms: int, now_ms: int
    ) -> Iterator[Watermark]:
        """Correct minutes of a lost span that are not known, for example of an earlier run."""
        until = min(symbol.emitted, default=self._next_minute)
        first, last = minute_of(from_ms), min(minute_of(to_ms - 1), until - MINUTE_MS)
        if first <= last:
            since = first if first < last else None
            yield self._watermark(name, self._reached(name, symbol, now_ms), now_ms, last, 0, since)

    def _gap_beyond_lateness(
        self, name: str, symbol: _Symbol, start_ms: int, end_ms: int, now_ms: int
    ) -> Iterator[Watermark]:
        """Report full minutes of a gap that were emitted too long ago to be known."""
        first = minute_of(start_ms) + MINUTE_MS
        end = min(minute_of(end_ms), min(symbol.emitted, default=0))
        if first < end:
            t = self._reached(name, symbol, now_ms)
            yield self._watermark(name, t, now_ms, end - MINUTE_MS, 0, first)

    def moved_forward(self, at_ms: int, ms: int) -> None:
        """Adjust to a clock that was moved forward by `ms` at `at_ms`, its own time.

        What was already emitted remains valid for the time it was emitted for.
        """
        self._moves.append((at_ms, ms))
        for symbol in self._symbols.values():
            symbol.coverage.moved_forward(at_ms, ms)

    def _clock_at(self, at_ms: int) -> int:
        """Convert a time counted back on the present clock to what the clock showed then."""
        for moved_at_ms, ms in reversed(self._moves):
            if at_ms >= moved_at_ms + ms:
                break
            at_ms -= ms
        return at_ms

    def traded(self, symbols: Iterable[str]) -> None:
        """Record that trades of `symbols` are sent."""
        for name in symbols:
            if symbol := self._symbols.get(name):
                symbol.traded = True

    def due(self, now_ms: int) -> bool:
        """Return whether a minute has to be emitted before anything else is sent."""
        return now_ms >= self._next_minute + MINUTE_MS + self._grace_ms

    def minutes(self, now_ms: int) -> list[Watermark]:
        """Return the coverage of the minutes that are due: end + grace have passed."""
        if not self.due(now_ms):
            return []
        last = minute_of(now_ms - self._grace_ms) - MINUTE_MS
        minutes = range(self._next_minute, last + 1, MINUTE_MS)
        self._next_minute = last + MINUTE_MS
        emitted = [
            message
            for name, symbol in self._symbols.items()
            for message in self._emit_minutes(name, symbol, minutes, now_ms)
        ]
        self._discard_old(now_ms)
        return emitted

    def each_second(self, now_ms: int) -> list[Watermark]:
        """Return what is due now: minutes, and symbols that traded since their last watermark."""
        messages = self.minutes(now_ms)
        for name, symbol in self._symbols.items():
            if symbol.traded:
                messages.append(self._running(name, symbol, now_ms))
                symbol.traded = False
        return messages

    def checkpoint(self, now_ms: int, moved_ms: int = 0) -> CoverageCheckpoint:
        """Return the state to restore after a restart.

        :param moved_ms: how far the clock was moved (`ClockSkew.moved_ms`).
        """
        minutes = range(self._next_minute, now_ms + 1, MINUTE_MS)
        return CoverageCheckpoint(
            at_ms=now_ms,
            covered={
                name: {minute: symbol.coverage.covered_ms(minute, now_ms) for minute in minutes}
                for name, symbol in self._symbols.items()
            },
            moved_ms=moved_ms,
        )

    def _emit_minutes(
        self, name: str, symbol: _Symbol, minutes: range, now_ms: int
    ) -> Iterator[Watermark]:
        reached = self._reached(name, symbol, now_ms)
        gap_since: int | None = None
        for minute in minutes:
            if minute < symbol.first_minute:
                continue
            covered = symbol.coverage.covered_ms(minute, now_ms)
            if not covered and minute + MINUTE_MS + self._allowed_lateness_ms <= now_ms:
                gap_since = minute if gap_since is None else gap_since
                continue
            if gap_since is not None:
                t = min(reached, minute)
                yield self._watermark(name, t, now_ms, minute - MINUTE_MS, 0, gap_since)
                gap_since = None
            symbol.emitted[minute] = covered
            t = reached if minute == minutes[-1] else min(reached, minute + MINUTE_MS)
            yield self._watermark(name, t, now_ms, minute, covered)
        if gap_since is not None:
            yield self._watermark(name, reached, now_ms, minutes[-1], 0, gap_since)

    def _running(self, name: str, symbol: _Symbol, now_ms: int) -> Watermark:
        minute = minute_of(now_ms)
        covered = symbol.coverage.covered_ms(minute, now_ms)
        return self._watermark(name, self._reached(name, symbol, now_ms), now_ms, minute, covered)

    def _reached(self, name: str, symbol: _Symbol, now_ms: int) -> int:
        symbol.t = max(symbol.t, self._newest_t(name, now_ms) - self._grace_ms)
        return symbol.t

    def _watermark(
        self,
        name: str,
        t: int,
        now_ms: int,
        minute: int,
        covered: int,
        gap_since: int | None = None,
    ) -> Watermark:
        return Watermark(name, self._feed, self._source, now_ms, t, minute, covered, gap_since)

    def _discard_old(self, now_ms: int) -> None:
        """Discard minutes past the allowed lateness, and removed symbols after their last one."""
        first = minute_of(now_ms - self._allowed_lateness_ms) - MINUTE_MS
        self._moves = [(at_ms, ms) for at_ms, ms in self._moves if at_ms >= first]
        for name, symbol in list(self._symbols.items()):
            symbol.coverage.discard_before(first)
            for minute in [m for m in symbol.emitted if m < first]:
                del symbol.emitted[minute]
            if symbol.until_ms is not None and symbol.t >= symbol.until_ms:
                del self._symbols[name]


def _restored(covered: dict[int, int] | None, minute: int) -> _Symbol:
    symbol = _Symbol(Coverage(), first_minute=min(covered) if covered else minute)
    for known, covered_ms in (covered or {}).items():
        symbol.coverage.add(known, covered_ms)
    return symbol
