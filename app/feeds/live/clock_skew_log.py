"""Log wrong clocks and trades with wrong times, each fault once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from app.contracts import FUTURE_MS
from app.feeds.live.clock_skew import MAX_MOVE_MS, ClockSkew, Disagreement

MAX_NAMES = 20
"""Symbols beyond this number are counted, but not named, in a log line."""

log = logging.getLogger(__name__)


class SkewLog:
    """Warns when a fault that `skew` has found begins, and logs when it ends."""

    def __init__(self, skew: ClockSkew) -> None:
        self._skew = skew
        self._conditions: set[str] = set()
        self._named: set[str] = set()

    def continued(self, ms: int) -> None:
        """Log that the producer continues with the previous run's clock.

        :param ms: how far that clock is ahead of the system's.
        """
        log.warning(
            "this machine's clock is %.1f s behind the clock of the previous run; the producer "
            "continues with the latter. Set the clock.",
            ms / 1000,
        )

    def moved(self, ms: int) -> None:
        """Log that the clock was moved forward by `ms`."""
        log.warning(
            "this machine's clock is %.1f s behind the trades%s; the producer follows the trades. "
            "Set the clock.",
            ms / 1000,
            " and the time that the feed's server gives" if self._skew.has_date else "",
        )

    def rejected(self, symbols: Iterable[str]) -> None:
        """Log that trades of `symbols` were rejected because their times are ahead of the clock."""
        self._name([self._skew.newest_disagreement(symbol) for symbol in dict.fromkeys(symbols)])

    def each_second(self, now_ms: int) -> None:
        """Log the faults that have begun or ended."""
        skew = self._skew
        self._named = {symbol for symbol in self._named if not skew.agrees(symbol)}
        self._name(skew.disagreements(now_ms))
        self._condition(
            "ahead",
            skew.ahead_ms > 0,
            f"this machine's clock is {skew.ahead_ms / 1000:.1f} s ahead of the time that the "
            "feed's server gives; minutes are closed that much later. Set the clock, and start "
            "the producer again.",
            "this machine's clock agrees with the feed's server again",
        )
        lag_ms = skew.lag_ms(now_ms) - skew.ahead_ms
        self._condition(
            "late",
            lag_ms > 0,
            f"trades arrive {lag_ms / 1000:.1f} s after they happened"
            + ("" if skew.has_date else ", or this machine's clock is ahead by as much")
            + "; minutes are closed that much later",
            "trades arrive in time again",
        )
        self._condition(
            "date",
            skew.date_is_outvoted,
            "the time that the feed's server gives (its Date header) contradicts this machine's "
            "clock and the trades, which agree: it is not used",
            "the time that the feed's server gives agrees with the trades again",
        )
        self._condition(
            "far",
            skew.is_too_far_behind,
            f"this machine's clock is more than {MAX_MOVE_MS // 86_400_000} days behind the "
            "trades, which is not corrected: they are rejected (future). Set the clock, and start "
            "the producer again.",
            "this machine's clock is no longer days behind the trades",
        )

    def _condition(self, name: str, holds: bool, begins: str, ends: str) -> None:
        if holds and name not in self._conditions:
            self._conditions.add(name)
            log.warning("%s", begins)
        elif not holds and name in self._conditions:
            self._conditions.discard(name)
            log.warning("%s", ends)

    def _name(self, disagreements: list[Disagreement]) -> None:
        """Log symbols that were not logged yet, or that were right in between."""
        found = [
            disagreement for disagreement in disagreements if disagreement.symbol not in self._named
        ]
        self._named.update(item.symbol for item in found)
        if ahead := [item for item in found if item.lag_ms < 0]:
            log.warning(
                "trades carry a time ahead of the time they are received at: %s. Those more than "
                "%d s ahead are rejected (future).%s",
                _listed(ahead),
                FUTURE_MS // 1000,
                ""
                if self._skew.has_date
                else " The feed's server has not given its time: it may as well be this machine's "
                "clock that is behind. Check it.",
            )
        if behind := [item for item in found if item.lag_ms > 0]:
            log.warning(
                "trades carry a time behind those of the other symbols: %s. They revise candles "
                "that were final, or are rejected (late).",
                _listed(behind),
            )


def _listed(found: list[Disagreement]) -> str:
    names = [f"{item.symbol} by {abs(item.lag_ms) / 1000:.1f} s" for item in found[:MAX_NAMES]]
    rest = len(found) - len(names)
    return ", ".join(names) + (f" and {rest} more symbols" if rest else "")
