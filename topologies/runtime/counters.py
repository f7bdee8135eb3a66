"""What is counted on the way because it changes no candle: said in the log, not lost."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)

EVERY_S = 60.0


def format_counters(counters: Counter[str]) -> str:
    """The counts of `counters` as text, by name: `3 not_a_trade, 12 repeated_quote`."""
    return ", ".join(f"{counters[name]} {name}" for name in sorted(counters) if counters[name])


class CounterLog:
    """Says what was counted when it changed, at most once in `EVERY_S`."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._logged: Counter[str] = Counter()
        self._next_s = float("-inf")

    def log_if_due(self, now_s: float) -> None:
        """Log the counts if it is time.

        :param now_s: of any steady clock.
        """
        if now_s < self._next_s or self._counters == self._logged:
            return
        self._next_s = now_s + EVERY_S
        self._logged = self._counters.copy()
        logger.info("counted since the start: %s", format_counters(self._counters))
