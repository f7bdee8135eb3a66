"""How far the feed and the producer's clock are apart, judged by the trades themselves: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median_low

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
