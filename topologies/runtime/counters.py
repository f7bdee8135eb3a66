"""Log counters of messages and trades that a topology skipped or found unusual."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)

EVERY_S = 60.0


def format_counters(counters: Counter[str]) -> str:
    """Format the nonzero counters, sorted by name: `3 not_a_trade, 12 repeated_quote`."""
    return ", ".join(f"{counters[name]} {name}" for name in sorted(counters) if counters[name])


class CounterLog:
    """Logs counters that have changed, at most once per `EVERY_S`."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._logged: Counter[str] = Counter()
        self._next_s = float("-inf")

    def log_if_due(self, now_s: float) -> None:
        """Log the counters if they changed and the interval has passed.

        :param now_s: seconds of a monotonic clock.
        """
        if now_s < self._next_s or self._counters == self._logged:
            return
        self._next_s = now_s + EVERY_S
        self._logged = self._counters.copy()
        logger.info("counted since the start: %s", format_counters(self._counters))
