"""Count equal trades, to distinguish a genuine repeat from a trade that was sent twice.

Finnhub's trades have no id. A trade is identified by (s, t, p, v, c, k), where k is the number of
times that its connection had already sent the same s, t, p, v, c. If another connection also
receives the trade, it has the same k there. A second trade of the same size and price on one
connection has another k.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable

from app.contracts import FUTURE_MS

_MINUTE_MS = 60_000
_PARTS = 16
_PACK_EVERY_MS = 100


class RepeatCounter:
    """Counts equal trades until a clock has passed the end of their minute by `keep_ms`.

    Identities are stored as 64-bit hashes, by minute. Minutes that are over are packed step by step
    into an eighth of the memory, where late trades can still be found.

    :param keep_ms: allowed lateness + grace; no candle accepts a trade later than that.
    """

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._minutes: dict[int, _Minute] = {}
        self._discard_at_ms: int | None = None
        self._to_pack: deque[tuple[_Minute, int]] = deque()
        self._pack_at_ms = 0

    def k(self, identity: Hashable, t: int, clock_ms: int) -> int:
        """Count `identity`, a trade of time `t`; return how many times it was counted before."""
        if self._discard_at_ms is not None and clock_ms > self._discard_at_ms:
            self._discard_old(clock_ms)
        if self._to_pack and clock_ms >= self._pack_at_ms:
            self._pack(clock_ms)
        # times further ahead are rejected later; they must not be remembered for long
        minute = (t if t - clock_ms <= FUTURE_MS else clock_ms) // _MINUTE_MS
        counted = self._minutes.get(minute)
        if counted is None:
            if self._ends_at(minute) < clock_ms:
                return 0
            counted = self._begin(minute)
        digest = hash(identity)
        seen = counted.seen[digest % _PARTS]
        if digest not in seen:
            seen.add(digest)
            return 0
        count = counted.repeats.get(digest, 0) + 1
        counted.repeats[digest] = count
        return count

    def _begin(self, minute: int) -> _Minute:
        """Start a new minute; minutes before the previous one are over, except for late trades."""
        for number, old in self._minutes.items():
            if number < minute - 1 and not old.is_over:
                old.is_over = True
                self._to_pack.extend((old, part) for part in range(_PARTS))
        new = self._minutes[minute] = _Minute()
        self._discard_at_ms = min(map(self._ends_at, self._minutes))
        return new

    def _pack(self, clock_ms: int) -> None:
        old, part = self._to_pack.popleft()
        digests = old.seen[part]
        if isinstance(digests, set):
            old.seen[part] = _Packed(digests)
        self._pack_at_ms = clock_ms + _PACK_EVERY_MS

    def _ends_at(self, minute: int) -> int:
        return (minute + 1) * _MINUTE_MS + self._keep_ms

    def _discard_old(self, clock_ms: int) -> None:
        for minute in [m for m in self._minutes if self._ends_at(m) < clock_ms]:
            del self._minutes[minute]
        self._discard_at_ms = min(map(self._ends_at, self._minutes), default=None)


class _Minute:
    """The digests of a minute's trades, in parts, and the counts of repeated ones."""

    __slots__ = ("is_over", "repeats", "seen")

    def __init__(self) -> None:
        self.seen: list[set[int] | _Packed] = [set() for _ in range(_PARTS)]
        self.repeats: dict[int, int] = {}
        self.is_over = False


class _Packed:
    """Sorted digests of eight bytes each, and digests that were added later."""

    __slots__ = ("_digests", "_late")

    def __init__(self, digests: set[int]) -> None:
        self._digests = array("q", sorted(digests))
        self._late: set[int] = set()

    def __contains__(self, digest: int) -> bool:
        index = bisect_left(self._digests, digest)
        return (
            index < len(self._digests) and self._digests[index] == digest
        ) or digest in self._late

    def add(self, digest: int) -> None:
        self._late.add(digest)
