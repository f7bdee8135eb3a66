"""How far the feed and the producer's clock are apart, judged by the trades themselves: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median_low

from app.feeds.coverage import Mark

SAMPLES = 100
TOLERANCE_MS = 2_000
_FEWEST_SAMPLES = 3
"""One or two trades with a wrong time must not move a clock that is never set back. To hold
watermarks back one is enough: that ends by itself, a watermark told too far never falls."""
_LAG_ENDS_AFTER_MS = 60_000


class Skew:
    """The median of received_at − t over the last 100 trades, and what follows from it."""

    def __init__(self) -> None:
        self._lags_ms: deque[int] = deque(maxlen=SAMPLES)
        self._largest_t: int | None = None
        self._heard_at_ms = 0
        self._moved_ms = 0

    @property
    def moved_ms(self) -> int:
        """By how much the clock was moved in all.

        Nothing, when trades have since become late by as much: the feed's clock was wrong for a
        while, or the machine's was set right bit by bit, and a new start does better without.
        """
        taken_back = self._median_ms() > self._moved_ms - TOLERANCE_MS
        return 0 if taken_back else self._moved_ms

    def go_on_from(self, mark: Mark, now_ms: int) -> int:
        """Judge the machine's clock by that of the run before, which stored `mark`.

        A clock that is right, or was set right meanwhile, is past the mark. One that is before it
        by no more than trades had moved that run's clock is still behind by as much as then. Within
        the tolerance it may as well have been set right, and goes on at the mark.

        :returns: by how many ms a clock that starts at `now_ms` has to be moved forward.
        """
        ahead_ms = mark.at_ms - now_ms
        if 0 < ahead_ms <= TOLERANCE_MS:
            self._moved_ms = ahead_ms
        elif 0 < ahead_ms <= mark.moved_ms:
            self._moved_ms = mark.moved_ms
        return self._moved_ms

    def observe(self, times: Iterable[int], received_at: int) -> int:
        """Note the trades of a frame.

        :returns: by how many ms the clock is behind and has to be moved forward before these trades
            are sent; 0 within the tolerance.
        """
        for t in times:
            self._lags_ms.append(received_at - t)
            self._largest_t = t if self._largest_t is None else max(self._largest_t, t)
            self._heard_at_ms = received_at
        behind = -self._median_ms()
        if behind <= TOLERANCE_MS or len(self._lags_ms) < _FEWEST_SAMPLES:
            return 0
        self._lags_ms = deque((lag + behind for lag in self._lags_ms), maxlen=SAMPLES)
        self._heard_at_ms += behind
        self._moved_ms += behind
        return behind

    def lag_ms(self, now_ms: int) -> int:
        """How late the feed is, when it is later than the tolerance; else 0.

        A feed that has been silent for a minute longer than it was late has nothing more to tell.
        """
        lag = self._median_ms()
        if lag <= TOLERANCE_MS or now_ms - self._heard_at_ms > lag + _LAG_ENDS_AFTER_MS:
            return 0
        return lag

    def newest_t(self, now_ms: int) -> int:
        """Up to where the feed has told: now, or the largest t it has sent while it is late."""
        if self._largest_t is None or not self.lag_ms(now_ms):
            return now_ms
        return min(now_ms, self._largest_t)

    def _median_ms(self) -> int:
        return median_low(self._lags_ms) if self._lags_ms else 0
