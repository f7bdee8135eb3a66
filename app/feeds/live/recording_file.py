"""The file format of recordings: gzip-compressed JSON lines with every frame and its time.

A recording is a gzip file of one or more members, each of which holds complete lines: `zcat` reads
it. Several runs may append to one file; an incomplete end that a crash left is cut off before the
next run. A file of other content, or one that is damaged before its end, is not changed. The lines:

    {"at": 1731600060000, "what": "started", "feed": "live", "symbols": [...]}
    {"at": ..., "what": "opened", "connection": "...", "symbols": [...]}
    {"at": ..., "what": "frame", "connection": "...", "raw": "..."}   (or `raw_bytes`)
    {"at": ..., "what": "subscribed" | "unsubscribed" | "rejected", "connection", "symbols"}
    {"at": ..., "what": "closed", "connection": "..."}
    {"at": ..., "what": "quote", "symbols": ["..."], "raw": "..."}    (the answer over REST)
    {"at": ..., "what": "date", "date": 1731600060000, "sent": ...}   (the server's time; request)
    {"at": ..., "what": "added" | "removed", "symbols": [...]}
    {"at": ..., "what": "second"}      (the producer's tick)
    {"at": ..., "what": "stopped"}
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterator
from gzip import compress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from app.contracts import FeedName
from app.errors import TickhouseError
from app.outputs import OutputError

_CHUNK_BYTES = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS

What = Literal[
    "started",
    "opened",
    "frame",
    "subscribed",
    "unsubscribed",
    "rejected",
    "closed",
    "quote",
    "date",
    "added",
    "removed",
    "second",
    "stopped",
]


class RecordingError(TickhouseError):
    """A recording cannot be written or read."""


class Event(Struct, omit_defaults=True):
    """An event in the producer, at `at` (UNIX ms by its clock)."""

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
        """The vendor's response to a quote request.

        :raises RecordingError: the line is not valid, for example because it was edited.
        """
        try:
            return json.loads(self.raw or "")
        except ValueError as error:
            raise RecordingError(
                f"The recorded quote of {self.symbols[0]} at {self.at} is not JSON: {error}. "
                "Correct or remove its line."
            ) from None


decode_event = msgspec.json.Decoder(Event).decode
_MEMBER_BEGINS = compress(b"", mtime=0)[:4]
_LINE_BEGINS = b'{"at":'


def sound_bytes(path: Path) -> int:
    """Return where the last complete member ends; the rest was cut off by a crash.

    :raises OutputError: the file holds something that no recorder has written, or readable members
        after an unreadable part.
    """
    end_at = 0
    for content, member_end_at in members(path):
        if not _is_event(content.partition(b"\n")[0]):
            raise OutputError(f"{path} is not a recording; it is not changed. Name another file.")
        end_at = member_end_at
    if end_at < path.stat().st_size and not _is_torn(path, end_at):
        raise OutputError(
            f"{path} cannot be read from byte {end_at} on, and what is there is not the torn end "
            "of a recording; it is not changed. Name another file."
        )
    return end_at


def _is_event(line: bytes) -> bool:
    try:
        decode_event(line)
    except msgspec.DecodeError:
        return False
    return True


def _is_torn(path: Path, start: int) -> bool:
    """Return whether the bytes from `start` on are the beginning of a single member.

    Zeros may follow it: after a crash of the machine a file may keep its length, with zeros in
    place of unwritten data.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        begun = content[start : start + _CHUNK_BYTES].rstrip(b"\0")
        at = content.find(_MEMBER_BEGINS, start + 1)
        while at >= 0:
            if next(members(path, at), None):
                return False
            at = content.find(_MEMBER_BEGINS, at + 1)
    return _MEMBER_BEGINS.startswith(begun[: len(_MEMBER_BEGINS)]) and _begins_line(begun)


def _begins_line(begun: bytes) -> bool:
    """Return whether the beginning of a member decodes to the beginning of an event."""
    try:
        content = zlib.decompressobj(_GZIP).decompress(begun, len(_LINE_BEGINS))
    except zlib.error:
        return False
    return _LINE_BEGINS.startswith(content)


def members(path: Path, at: int = 0) -> Iterator[tuple[bytes, int]]:
    """Yield the content of each complete gzip member from `at` on, and where it ends."""
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
