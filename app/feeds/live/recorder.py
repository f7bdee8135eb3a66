"""Write a recording of the feed while the producer runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from gzip import compress
from io import FileIO
from pathlib import Path

import msgspec

from app.contracts import FeedName
from app.feeds.clock import Clock
from app.feeds.live.recording_file import Event, What, sound_bytes
from app.outputs import OutputError, lock_output

BLOCK_BYTES = 1024 * 1024
"""Buffered lines of this size are written even before the second is over."""
_LEVEL = 4

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class Recorder:
    """Records events to a new file, or appends them to an existing recording.

    :raises OutputError: the file cannot be written, is being written by another process, or is not
        an intact recording. It is then unchanged.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lines: list[bytes] = []
        self._bytes = 0
        self._failed = False
        try:
            self._file = _opened(path)
        except OSError as error:
            raise OutputError(
                f"The recording {path} cannot be written: {error.strerror}. Name another file."
            ) from None

    def started(self, feed: FeedName, symbols: Iterable[str]) -> None:
        self._record(Event(self._clock.now_ms(), "started", symbols=tuple(symbols), feed=feed))

    def opened(self, connection: str, symbols: Iterable[str]) -> None:
        self._record_event("opened", connection, symbols)

    def frame(self, connection: str, raw: bytes) -> None:
        event = Event(self._clock.now_ms(), "frame", connection)
        try:
            event.raw = raw.decode()
        except UnicodeDecodeError:
            event.raw_bytes = raw
        self._record(event)

    def subscribed(self, connection: str, symbols: Iterable[str]) -> None:
        self._record_event("subscribed", connection, symbols)

    def unsubscribed(self, connection: str, symbols: Iterable[str]) -> None:
        self._record_event("unsubscribed", connection, symbols)

    def rejected(self, connection: str, symbols: Iterable[str]) -> None:
        self._record_event("rejected", connection, symbols)

    def closed(self, connection: str) -> None:
        self._record_event("closed", connection)

    def quote(self, symbol: str, answer: str, at_ms: int) -> None:
        """Record `answer`, the JSON of a quote of `symbol`."""
        self._record(Event(at_ms, "quote", symbols=(symbol,), raw=answer))

    def date(self, date_ms: int, sent_ms: int, at_ms: int) -> None:
        """Record a time that the vendor's server reported (`ClockSkew.date_received`)."""
        self._record(Event(at_ms, "date", date=date_ms, sent=sent_ms))

    def second(self) -> None:
        """Record the producer's tick."""
        self._record_event("second", "")

    def changed(self, added: Iterable[str], removed: Iterable[str]) -> None:
        self._record_event("added", "", added)
        self._record_event("removed", "", removed)

    def flush(self) -> None:
        """Write the buffered lines. Call it about once a second.

        While the disk is full, the recording loses lines, but the feed continues.
        """
        lines, self._lines, self._bytes = self._lines, [], 0
        if not lines:
            return
        try:
            self._write(compress(b"".join(lines), _LEVEL, mtime=0))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("%s cannot be written: %s. Free some space there.", self._path, error)
            self._failed = True

    def close(self) -> None:
        """Record the end, and close the file."""
        self._record_event("stopped", "")
        self.flush()
        self._file.close()

    def _write(self, member: bytes) -> None:
        """Write a gzip member completely or not at all.

        After a partial member the rest of the file could not be read.
        """
        start = self._file.seek(0, 2)
        if self._file.write(member) != len(member):
            self._file.truncate(start)
            raise OSError("there is no room for it")

    def _record_event(self, what: What, connection: str, symbols: Iterable[str] = ()) -> None:
        self._record(Event(self._clock.now_ms(), what, connection, tuple(symbols)))

    def _record(self, event: Event) -> None:
        line = _encode(event) + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= BLOCK_BYTES:
            self.flush()


def _opened(path: Path) -> FileIO:
    """Open and lock a recording for appending, and cut off an incomplete end."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("ab+", buffering=0))
        lock_output(file, path)
        file.truncate(sound_bytes(path))
        stack.pop_all()
    return file
