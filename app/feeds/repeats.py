"""Counting equal trades: what tells a genuine repeat from the same trade sent twice.

Finnhub gives trades no id. A trade is known by (s, t, p, v, c, k), where k says how many times its
connection had already sent the same s, t, p, v, c: the same trade heard again through another
connection has the same k, a second print of the same size and price in one connection does not.
"""

from __future__ import annotations

from collections.abc import Hashable

_MINUTE_MS = 60_000


class RepeatCounter:
    """Counts equal trades until a clock has passed the end of their minute by `keep_ms`.

    :param keep_ms: horizon + grace; later than that, no candle takes the trade any more.
    """

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._minutes: dict[int, tuple[set[int], dict[int, int]]] = {}
        self._forget_at_ms: int | None = None

    def k(self, identity: Hashable, t: int, clock_ms: int) -> int:
        """How many times `identity`, a trade of time `t`, was counted before; counts it.

        Hashes stand for identities: 64 bits, a minute's trades at a time, at a quarter of the
        memory.
        """
        if self._forget_at_ms is not None and clock_ms > self._forget_at_ms:
            self._forget(clock_ms)
        # a trade ahead of the clock is refused downstream; it must not be remembered for ever
        minute = min(t, clock_ms) // _MINUTE_MS
        bucket = self._minutes.get(minute)
        if bucket is None:
            if self._ends_at(minute) < clock_ms:
                return 0
            bucket = self._minutes[minute] = (set(), {})
            self._forget_at_ms = min(map(self._ends_at, self._minutes))
        seen, repeats = bucket
        mark = hash(identity)
        if mark not in seen:
            seen.add(mark)
            return 0
        count = repeats.get(mark, 0) + 1
        repeats[mark] = count
        return count

    def _ends_at(self, minute: int) -> int:
        return (minute + 1) * _MINUTE_MS + self._keep_ms

    def _forget(self, clock_ms: int) -> None:
        for minute in [m for m in self._minutes if self._ends_at(m) < clock_ms]:
            del self._minutes[minute]
        self._forget_at_ms = min(map(self._ends_at, self._minutes), default=None)
