"""Records on their way to Kafka, and the file where they wait when memory is full."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.outputs import replacing

BLOCK_BYTES = 4 * 1024 * 1024
RECORD_BYTES = 160
"""What a record takes in memory beyond its key and value."""
_HEAD = struct.Struct("<Q")
_LENGTH = struct.Struct("<I")

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A Kafka message on its way."""

    topic: str
    key: bytes | None
    value: bytes

    @property
    def size(self) -> int:
        """What it takes in memory, in bytes."""
        return RECORD_BYTES + len(self.value) + len(self.key or b"")


class SpillFile:
    """Records on disk, first in, first out; they outlive the process.

    The file begins with the place of the first record that is not `confirmed`. A record that a
    crash cut off or spoiled ends it. What is appended outlives the machine, too, after `sync`.

    :ivar unread: how many records were not read yet.
    :ivar is_synced: whether all that was appended is on the disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.unread = 0
        self.is_synced = True
        self._file = _opened(path)
        self._confirmed_at = self._read_at = self._end_at = _HEAD.size
        self._find_records()

    def __bool__(self) -> bool:
        """Whether there are records that were not read yet."""
        return self.unread > 0

    @property
    def has_unconfirmed(self) -> bool:
        """Whether records were read that are not confirmed yet."""
        return self._confirmed_at < self._read_at

    def append(self, records: Iterable[Record]) -> None:
        """Write `records` behind all others.

        :raises OSError: there is no room; none of them counts as written.
        """
        packed = [_packed(record) for record in records]
        content = b"".join(packed)
        self._file.seek(self._end_at)
        _write(self._file, content)
        self.is_synced = False  # at last: a `sync` that goes on meanwhile may not hold all of it
        self._end_at += len(content)
        self.unread += len(packed)

    def sync(self) -> None:
        """Force to the disk what was appended; a thread of its own may do it.

        :raises OSError: the disk refuses.
        """
        self.is_synced = True  # what is appended from now on may come too late
        os.fsync(self._file.fileno())

    def read(self) -> list[Record]:
        """The next records, some MiB of them; they stay in the file until `confirm`."""
        found: list[Record] = []
        start_at = self._read_at
        for record, end_at in self._records(start_at, self._end_at):
            found.append(record)
            self._read_at = end_at
            if end_at - start_at >= BLOCK_BYTES:
                break
        self.unread -= len(found)
        return found

    def confirm(self) -> None:
        """Everything that was read has been delivered; an empty file gives its room back."""
        if not self:
            self._read_at = self._end_at = _HEAD.size
            self._file.truncate(_HEAD.size)
        self._confirmed_at = self._read_at
        self._write_head()

    def replace(self, records: Iterable[Record]) -> None:
        """Make `records`, and behind them what was not read yet, the file's content."""
        with replacing(self.path) as file, self.path.open("rb") as old:
            file.write(_HEAD.pack(_HEAD.size))
            file.writelines(map(_packed, records))
            old.seek(self._read_at)
            left = self._end_at - self._read_at
            while left and (part := old.read(min(left, BLOCK_BYTES))):
                file.write(part)
                left -= len(part)
        self._file.close()
        self._file = _opened(self.path)
        self._find_records()

    def close(self) -> None:
        self._file.close()

    def _find_records(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size < _HEAD.size:
            self._confirmed_at = self._read_at = self._end_at = _HEAD.size
            self._write_head()
            return
        self._file.seek(0)
        (start_at,) = _HEAD.unpack(self._file.read(_HEAD.size))
        start_at = max(start_at, _HEAD.size)
        self._confirmed_at = self._read_at = self._end_at = start_at
        self.unread = 0
        for _, end_at in self._records(start_at, size):
            self._end_at = end_at
            self.unread += 1
        if self._end_at < size:
            log.error(
                "%s: a crash spoiled it; %d bytes at its end cannot be read and are cut off",
                self.path,
                size - self._end_at,
            )
        self._file.truncate(self._end_at)

    def _records(self, start_at: int, end_at: int) -> Iterator[tuple[Record, int]]:
        """The whole records between two places up to one that is none, and where each ends."""
        decode = msgspec.msgpack.Decoder(Record).decode
        with self.path.open("rb") as file:
            at = file.seek(start_at)
            while at + _LENGTH.size <= end_at:
                (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
                at += _LENGTH.size + length
                if at > end_at:
                    return
                try:
                    record = decode(file.read(length))
                except msgspec.DecodeError:
                    return
                yield record, at

    def _write_head(self) -> None:
        self._file.seek(0)
        _write(self._file, _HEAD.pack(self._confirmed_at))


def _opened(path: Path) -> FileIO:
    """Without a buffer: what could not be written must not be written later, elsewhere."""
    return FileIO(path, "r+b" if path.exists() else "w+b")


def _write(file: FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _packed(record: Record) -> bytes:
    body = msgspec.msgpack.encode(record)
    return _LENGTH.pack(len(body)) + body
