"""What is counted on the way because it changes no candle: said in the log, not lost."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)

EVERY_S = 60.0


def counted(tally: Counter[str]) -> str:
    """The counts of `tally` as text, by name: `3 not_a_trade, 12 repeated_quote`."""
    return ", ".join(f"{tally[name]} {name}" for name in sorted(tally) if tally[name])


class TallyLog:
    """Says what was counted when it changed, at most once in `EVERY_S`."""

    def __init__(self, tally: Counter[str]) -> None:
        self._tally = tally
        self._said: Counter[str] = Counter()
        self._next_s = float("-inf")

    def look(self, now_s: float) -> None:
        """Log the counts if it is time.

        :param now_s: of any steady clock.
        """
        if now_s < self._next_s or self._tally == self._said:
            return
        self._next_s = now_s + EVERY_S
        self._said = self._tally.copy()
        logger.info("counted since the start: %s", counted(self._tally))
