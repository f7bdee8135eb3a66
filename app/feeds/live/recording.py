"""Recordings of the feed: every frame as it came, with its time; JSON lines, compressed.

A recording is a gzip file of one or several members, each of them whole lines: `zcat` reads it.
Runs may write to the same file one after the other; what a crash tore at its end is cut off before
the next begins. A file that holds anything else, or is spoiled before its end, is left alone. The
lines:

    {"at": 1731600060000, "what": "started", "feed": "live", "symbols": [...]}
    {"at": ..., "what": "opened", "connection": "...", "symbols": [...]}
    {"at": ..., "what": "frame", "connection": "...", "raw": "..."}   (or `raw_bytes`)
    {"at": ..., "what": "subscribed" | "unsubscribed" | "refused", "connection", "symbols"}
    {"at": ..., "what": "closed", "connection": "..."}
    {"at": ..., "what": "quote", "symbols": ["..."], "raw": "..."}    (the answer over REST)
    {"at": ..., "what": "date", "date": 1731600060000, "sent": ...}   (of an answer; asked for when)
    {"at": ..., "what": "added" | "removed", "symbols": [...]}
    {"at": ..., "what": "second"}      (the producer's own beat)
    {"at": ..., "what": "stopped"}
"""

from __future__ import annotations

import json
import logging
import mmap
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from gzip import compress
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from app.contracts import FeedName
from app.errors import TickhouseError
from app.feeds.clock import Clock
from app.outputs import OutputError, lock_output

BLOCK_BYTES = 1024 * 1024
"""So much is written at once, if a second does not bring it before."""
_LEVEL = 4
_CHUNK_BYTES = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS

What = Literal[
    "started",
    "opened",
    "frame",
    "subscribed",
    "unsubscribed",
    "refused",
    "closed",
    "quote",
    "date",
    "added",
    "removed",
    "second",
    "stopped",
]

log = logging.getLogger(__name__)


class RecordingError(TickhouseError):
    """A recording cannot be written or read."""


class Event(Struct, omit_defaults=True):
    """Something that happened to the producer, `at` UNIX ms on its clock."""

    at: int
    what: What
    connection: str = ""
    symbols: tuple[str, ...] = ()
    raw: str | None = None
    raw_bytes: bytes | None = None
    feed: FeedName | None = None
    date: int = 0
    sent: int = 0

    @property
    def frame(self) -> bytes:
        """The bytes of the frame."""
        return self.raw_bytes if self.raw_bytes is not None else (self.raw or "").encode()

    @property
    def answer(self) -> Any:
        """What Finnhub answered when it was asked for a quote.

        :raises RecordingError: the line was tampered with.
        """
        try:
            return json.loads(self.raw or "")
        except ValueError as error:
            raise RecordingError(
                f"The recorded quote of {self.symbols[0]} at {self.at} is no JSON: {error}. "
                "Mend or remove its line."
            ) from None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode
_MEMBER_BEGINS = compress(b"", mtime=0)[:4]
_LINE_BEGINS = b'{"at":'


class Recorder:
    """Writes what happens to a recording: a new one, or the end of an existing one.

    :raises OutputError: the file cannot be written, is being written to by another process, or
        holds something else than a sound recording. It is then as it was.
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
        self._note(Event(self._clock.now_ms(), "started", symbols=tuple(symbols), feed=feed))

    def opened(self, connection: str, symbols: Iterable[str]) -> None:
        self._about("opened", connection, symbols)

    def frame(self, connection: str, raw: bytes) -> None:
        event = Event(self._clock.now_ms(), "frame", connection)
        try:
            event.raw = raw.decode()
        except UnicodeDecodeError:
            event.raw_bytes = raw
        self._note(event)

    def subscribed(self, connection: str, symbols: Iterable[str]) -> None:
        self._about("subscribed", connection, symbols)

    def unsubscribed(self, connection: str, symbols: Iterable[str]) -> None:
        self._about("unsubscribed", connection, symbols)

    def refused(self, connection: str, symbols: Iterable[str]) -> None:
        self._about("refused", connection, symbols)

    def closed(self, connection: str) -> None:
        self._about("closed", connection)

    def quote(self, symbol: str, answer: str, at_ms: int) -> None:
        """`answer`, JSON, came when `symbol` was asked for over REST."""
        self._note(Event(at_ms, "quote", symbols=(symbol,), raw=answer))

    def date(self, date_ms: int, sent_ms: int, at_ms: int) -> None:
        """A server of the vendor's gave its time (`ClockSkew.date_received`)."""
        self._note(Event(at_ms, "date", date=date_ms, sent=sent_ms))

    def second(self) -> None:
        """The producer's second begins."""
        self._about("second", "")

    def changed(self, added: Iterable[str], removed: Iterable[str]) -> None:
        self._about("added", "", added)
        self._about("removed", "", removed)

    def flush(self) -> None:
        """Write what was noted; to be called about each second.

        A full disk costs the recording what it cannot hold, never the feed.
        """
        lines, self._lines, self._bytes = self._lines, [], 0
        if not lines:
            return
        try:
            self._write(compress(b"".join(lines), _LEVEL, mtime=0))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("%s cannot be written: %s. Make room there.", self._path, error)
            self._failed = True

    def close(self) -> None:
        """Write the end."""
        self._about("stopped", "")
        self.flush()
        self._file.close()

    def _write(self, member: bytes) -> None:
        """Whole or not at all: half a member would make the rest of the file unreadable."""
        start = self._file.seek(0, 2)
        if self._file.write(member) != len(member):
            self._file.truncate(start)
            raise OSError("there is no room for it")

    def _about(self, what: What, connection: str, symbols: Iterable[str] = ()) -> None:
        self._note(Event(self._clock.now_ms(), what, connection, tuple(symbols)))

    def _note(self, event: Event) -> None:
        line = _encode(event) + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= BLOCK_BYTES:
            self.flush()


def is_recording(path: Path) -> bool:
    """Whether `path` looks like a recording, and not like a file of trades."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_recording(path: Path) -> Iterator[Event]:
    """Every event of a recording, in order; the torn end of a crash is left out with a warning.

    :raises RecordingError: the file cannot be read, or is no recording.
    """
    rest, whole = b"", 0
    try:
        for content, end_at in _members(path):
            whole = end_at
            lines = (rest + content).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield _decode(line)
        if whole < path.stat().st_size:
            log.warning("the end of the recording %s is torn off and left out", path)
    except OSError as error:
        raise RecordingError(f"The recording {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise RecordingError(f"{path} is no recording of `tickhouse produce`: {error}.") from None


def _opened(path: Path) -> FileIO:
    """A recording, without its torn end, to add to; of no other process meanwhile."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("ab+", buffering=0))
        lock_output(file, path)
        file.truncate(_sound_bytes(path))
        stack.pop_all()
    return file


def _sound_bytes(path: Path) -> int:
    """Where the last whole member ends; what is behind it was torn by a crash.

    :raises OutputError: the file holds something that no recorder has written, or that can be read
        behind a place that cannot.
    """
    end_at = 0
    for content, member_end_at in _members(path):
        if not _is_event(content.partition(b"\n")[0]):
            raise OutputError(f"{path} is no recording; it is not changed. Name another file.")
        end_at = member_end_at
    if end_at < path.stat().st_size and not _is_torn(path, end_at):
        raise OutputError(
            f"{path} cannot be read from byte {end_at} on, and what is there is not the torn end "
            "of a recording; it is not changed. Name another file."
        )
    return end_at


def _is_event(line: bytes) -> bool:
    try:
        _decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _is_torn(path: Path, start: int) -> bool:
    """Whether all from `start` on is the beginning of one member, perhaps with zeros behind it.

    A crash of the machine may leave a file as long as it was, with zeros for what was not written.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        begun = content[start : start + _CHUNK_BYTES].rstrip(b"\0")
        at = content.find(_MEMBER_BEGINS, start + 1)
        while at >= 0:
            if next(_members(path, at), None):
                return False
            at = content.find(_MEMBER_BEGINS, at + 1)
    return _MEMBER_BEGINS.startswith(begun[: len(_MEMBER_BEGINS)]) and _begins_line(begun)


def _begins_line(begun: bytes) -> bool:
    """Whether the beginning of a member holds the beginning of an event, as far as it goes."""
    try:
        content = zlib.decompressobj(_GZIP).decompress(begun, len(_LINE_BEGINS))
    except zlib.error:
        return False
    return _LINE_BEGINS.startswith(content)


def _members(path: Path, at: int = 0) -> Iterator[tuple[bytes, int]]:
    """The content of each whole gzip member from `at` on, and where it ends in the file."""
    with path.open("rb") as file:
        file.seek(at)
        waiting = b""
        while True:
            unpacker = zlib.decompressobj(_GZIP)
            parts = []
            while not unpacker.eof:
                chunk = waiting or file.read(_CHUNK_BYTES)
                if not chunk:
                    return
                waiting = b""
                try:
                    parts.append(unpacker.decompress(chunk))
                except zlib.error:
                    return
                at += len(chunk)
            waiting = unpacker.unused_data
            at -= len(waiting)
            yield b"".join(parts), at
