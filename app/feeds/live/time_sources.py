"""The time sources that `ClockSkew` compares with the clock: trades and the vendor's servers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median_high, median_low

TOLERANCE_MS = 2_000
"""Times that differ by at most this agree."""
NEAR_MS = 30_000
"""A symbol votes for a clock if its lag is this close to what that clock explains."""
SAMPLES = 5
"""How many seconds of trades count per symbol, each with its smallest lag."""
RECENT_MS = 60_000
"""How long a symbol votes after its last trade, in addition to that trade's delay."""
LONGEST_LAG_MS = 900_000


@dataclass(slots=True)
class TradeTimes:
    """The trade times of one symbol.

    :ivar lags_ms: the smallest lag of each of the last seconds in which it traded.
    :ivar second: the newest of these seconds.
    :ivar received_at_ms: when its last trade was received.
    :ivar future_since_ms: when its current series of trades ahead of the clock began.
    :ivar future_at_ms: when the last of these was received.
    """

    lags_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    second: int = -1
    received_at_ms: int = 0
    future_since_ms: int = 0
    future_at_ms: int = -RECENT_MS

    def vote_ms(self) -> int:
        """Return the median lag; of two in the middle, the one nearer to the clock."""
        return min(median_low(self.lags_ms), median_high(self.lags_ms), key=abs)

    def is_recent(self, now_ms: int, vote_ms: int) -> bool:
        late_ms = min(max(vote_ms, 0), LONGEST_LAG_MS)
        return now_ms - self.received_at_ms <= RECENT_MS + late_ms


@dataclass(frozen=True, slots=True)
class ServerDate:
    """The vendor's time at a moment of this clock: the clock's lag is within [low, high].

    :ivar since_ms: when the first response that agrees with it was received.
    """

    at_ms: int
    since_ms: int
    low_ms: int
    high_ms: int

    @property
    def middle_ms(self) -> int:
        return (self.low_ms + self.high_ms) // 2

    @property
    def agrees(self) -> bool:
        """Whether the clock may be right according to it."""
        return self.low_ms <= TOLERANCE_MS and self.high_ms >= -TOLERANCE_MS

    def explains(self, vote_ms: int) -> bool:
        """Return whether the clock's error according to the vendor explains a symbol's lag."""
        apart_ms = abs(vote_ms - self.middle_ms)
        return apart_ms <= NEAR_MS and apart_ms < abs(vote_ms)
