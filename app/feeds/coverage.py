"""How much of each minute the feed was connected for a symbol, and what is kept over a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

MINUTE_MS = 60_000


def minute_of(ms: int) -> int:
    """The start of the minute that `ms` lies in."""
    return ms - ms % MINUTE_MS


class Coverage:
    """When one symbol was subscribed on an open connection."""

    def __init__(self) -> None:
        self._closed: dict[int, int] = {}
        self._since: int | None = None

    def open(self, at_ms: int) -> None:
        """From now on what happens is heard."""
        if self._since is None:
            self._since = at_ms

    def close(self, at_ms: int) -> None:
        """Since `at_ms`, perhaps long ago, nothing was heard any more."""
        if self._since is not None:
            for minute in range(minute_of(self._since), at_ms, MINUTE_MS):
                self.add(minute, _overlap(minute, self._since, at_ms))
            self._since = None

    def add(self, minute: int, covered_ms: int) -> None:
        """Count `covered_ms` of `minute` as heard."""
        self._closed[minute] = min(self._closed.get(minute, 0) + covered_ms, MINUTE_MS)

    def moved_forward(self, ms: int) -> None:
        """The clock was behind: what is open was opened that much later than it said."""
        if self._since is not None:
            self._since += ms

    def covered_ms(self, minute: int, now_ms: int) -> int:
        """How much of `minute` was heard up to `now_ms`."""
        closed = self._closed.get(minute, 0)
        if self._since is None:
            return closed
        return min(closed + _overlap(minute, self._since, now_ms), MINUTE_MS)

    def forget_before(self, minute: int) -> None:
        """Drop what is known of minutes before `minute`."""
        for old in [m for m in self._closed if m < minute]:
            del self._closed[old]
        if self._since is not None:
            self._since = max(self._since, minute)


def _overlap(minute: int, start_ms: int, end_ms: int) -> int:
    return max(0, min(end_ms, minute + MINUTE_MS) - max(start_ms, minute))


class Mark(Struct):
    """How far the feed was covered when the mark was made.

    :ivar at_ms: the producer's clock.
    :ivar covered: for each symbol, the minutes that were not told for good, and their value.
    """

    at_ms: int
    covered: dict[str, dict[int, int]]


def load_mark(path: Path) -> Mark | None:
    """The mark stored in `path`; None where there is none.

    :raises msgspec.DecodeError: the file holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None


def store_mark(path: Path, mark: Mark) -> None:
    """Replace the mark in `path`; a crash leaves the old one or the new one."""
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(mark))
    new.replace(path)
