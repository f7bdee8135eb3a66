"""Track how much of each minute a symbol was connected, and store it across restarts."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from app.feeds.messages.outgoing import MINUTE_MS, minute_of
from app.folders import sync_folder


class Coverage:
    """When one symbol was subscribed on an open connection.

    Times are those of the clock at the time, before later moves.
    """

    def __init__(self) -> None:
        self._closed: dict[int, int] = {}
        self._since: int | None = None
        self._earlier: list[tuple[int, int]] = []

    def open(self, at_ms: int) -> None:
        """Start coverage at `at_ms`."""
        if self._since is None:
            self._since = at_ms

    def close(self, at_ms: int) -> None:
        """End coverage at `at_ms`, which may be long ago."""
        for start_ms, end_ms in self._connected_spans(at_ms):
            for minute in range(minute_of(start_ms), end_ms, MINUTE_MS):
                self.add(minute, _shared_ms(minute, start_ms, end_ms))
        self._since = None
        self._earlier.clear()

    def add(self, minute: int, covered_ms: int) -> None:
        """Add `covered_ms` to the coverage of `minute`."""
        self._closed[minute] = min(self._closed.get(minute, 0) + covered_ms, MINUTE_MS)

    def lose(self, from_ms: int, to_ms: int) -> None:
        """Remove a span from coverage because its messages were lost.

        Of closed connections only the sum per minute is known; the whole span is subtracted from
        it.
        """
        taken: dict[int, int] = {}
        kept: list[tuple[int, int]] = []
        for start, end in self._earlier:
            kept += [(start, min(end, from_ms)), (max(start, to_ms), end)]
            _add_minutes(taken, max(start, from_ms), min(end, to_ms))
        if self._since is not None:
            kept.append((self._since, from_ms))
            _add_minutes(taken, max(self._since, from_ms), to_ms)
            self._since = max(self._since, to_ms)
        self._earlier = [(start, end) for start, end in kept if start < end]
        for minute, covered_ms in self._closed.items():
            lost_ms = _shared_ms(minute, from_ms, to_ms) - taken.get(minute, 0)
            self._closed[minute] = max(0, covered_ms - lost_ms)

    def moved_forward(self, at_ms: int, ms: int) -> None:
        """Exclude the `ms` after `at_ms` by which the clock was moved.

        Nothing can be received in this time.
        """
        if self._since is not None:
            self._earlier.append((self._since, at_ms))
            self._since = at_ms + ms

    def cut(self, start_ms: int, end_ms: int) -> None:
        """Remove a span in which nothing was received although the connection stayed open."""
        if self._since is None or start_ms >= end_ms:
            return
        self._earlier = [
            part
            for start, end in self._earlier
            for part in ((start, min(end, start_ms)), (max(start, end_ms), end))
            if part[0] < part[1]
        ]
        if self._since < start_ms:
            self._earlier.append((self._since, start_ms))
        self._since = max(self._since, end_ms)

    def covered_ms(self, minute: int, now_ms: int) -> int:
        """Return how many ms of `minute` are covered up to `now_ms`."""
        received_ms = sum(
            _shared_ms(minute, start, end) for start, end in self._connected_spans(now_ms)
        )
        return min(self._closed.get(minute, 0) + received_ms, MINUTE_MS)

    def discard_before(self, minute: int) -> None:
        """Discard the coverage of minutes before `minute`."""
        for old in [m for m in self._closed if m < minute]:
            del self._closed[old]
        self._earlier = [(max(start, minute), end) for start, end in self._earlier if end > minute]
        if self._since is not None:
            self._since = max(self._since, minute)

    def _connected_spans(self, until_ms: int) -> list[tuple[int, int]]:
        """Return the covered spans up to `until_ms` since coverage started, excluding gaps."""
        if self._since is None:
            return []
        parts = (*self._earlier, (self._since, until_ms))
        return [(start, min(end, until_ms)) for start, end in parts]


def _add_minutes(by_minute: dict[int, int], start_ms: int, end_ms: int) -> None:
    """Add the ms of each minute within a span."""
    for minute in range(minute_of(start_ms), end_ms, MINUTE_MS):
        by_minute[minute] = by_minute.get(minute, 0) + _shared_ms(minute, start_ms, end_ms)


def _shared_ms(minute: int, start_ms: int, end_ms: int) -> int:
    return max(0, min(end_ms, minute + MINUTE_MS) - max(start_ms, minute))


class CoverageCheckpoint(Struct):
    """The coverage of the feed at a point in time.

    :ivar at_ms: the time by the producer's clock.
    :ivar covered: for each symbol, the covered ms of those minutes whose coverage is not final.
    :ivar moved_ms: how far that clock was ahead of the system's (`ClockSkew.moved_ms`).
    :ivar server: the address of the server that the feed came from, after its feed was verified.
    """

    at_ms: int
    covered: dict[str, dict[int, int]]
    moved_ms: int = 0
    server: str = ""


def load_checkpoint(path: Path) -> CoverageCheckpoint | None:
    """Load the checkpoint stored in `path`; None if the file does not exist.

    :raises msgspec.DecodeError: the file is not a checkpoint.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CoverageCheckpoint)
    except FileNotFoundError:
        return None


def store_checkpoint(path: Path, checkpoint: CoverageCheckpoint) -> None:
    """Replace the checkpoint in `path` atomically, and wait until it is on disk.

    :raises OSError: there is no space, or the disk reports an error.
    """
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(checkpoint))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)
