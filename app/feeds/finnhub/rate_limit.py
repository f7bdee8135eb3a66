"""Track how many REST calls an API key may still make: pure."""

from __future__ import annotations

from collections import deque

CALLS_PER_MINUTE, CALLS_PER_S = 60, 30
"""The limit of a free key, and the limit of every plan."""
MINUTE_MS, SECOND_MS = 61_000, 1_050
"""Slightly longer than a minute and a second, because calls may arrive closer together than they
were sent.
"""


class CallBudget:
    """The rate limits of one key: by default 60 calls in any minute and 30 in any second."""

    def __init__(self, per_minute: int = CALLS_PER_MINUTE, per_second: int = CALLS_PER_S) -> None:
        self._limits = ((per_minute, MINUTE_MS), (per_second, SECOND_MS))
        self._calls_ms: deque[int] = deque(maxlen=max(per_minute, per_second))
        self._closed_until_ms = 0

    def wait_ms(self, now_ms: int) -> int:
        """Return the ms to wait before the next call; 0 if it may be made now."""
        waits = [self._closed_until_ms - now_ms]
        for limit, window_ms in self._limits:
            if len(self._calls_ms) >= limit:
                waits.append(self._calls_ms[-limit] + window_ms - now_ms)
        return max(0, *waits)

    def take(self, now_ms: int) -> None:
        """Count a call made at `now_ms`."""
        self._calls_ms.append(now_ms)

    def used_up(self, until_ms: int) -> None:
        """Block calls until `until_ms`, as the server asked."""
        self._closed_until_ms = max(self._closed_until_ms, until_ms)
