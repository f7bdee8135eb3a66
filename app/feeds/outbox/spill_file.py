"""A file of records that wait for Kafka: first in, first out, checksummed, and synced to disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from app.errors import TickhouseError
from app.feeds.outbox.spill_format import (
    FORMAT,
    HEAD_BYTES,
    FilePart,
    KafkaRecord,
    feed_of,
    pack_header,
    pack_record,
    part_at,
    received_ms,
    unpack_header,
)
from app.folders import sync_folder

BLOCK_BYTES = 4 * 1024 * 1024
_TIME = b'"received_at":'

log = logging.getLogger(__name__)


class SpillError(TickhouseError):
    """The file cannot be used; it is unchanged."""


class UnreadableSpan(NamedTuple):
    """Records that can no longer be read.

    :ivar from_ms: `received_at` of the last message before them; 0 if it is not known.
    :ivar to_ms: `received_at` of the next message after them; None if no message follows.
    """

    from_ms: int
    to_ms: int | None


class SpillFile:
    """Records on disk, first in, first out; they survive the process.

    The file begins with its format and the position of the first unconfirmed record. Each record
    has a checksum: a corrupt one is skipped and logged, and `take_unreadable` returns when it was
    received. Appended records survive a crash of the machine once `is_synced`.

    :param feed: the feed that all messages must belong to; None for any.
    :ivar unread: the number of records not read yet (an upper bound if some have been corrupted).
    :raises SpillError: `path` is a file of another format, or holds messages of another feed.
    """

    def __init__(self, path: Path, feed: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._feed = feed
        self.unread = 0
        self._unreadable: list[UnreadableSpan] = []
        self._sync_failed = False
        self._name_is_synced = path.exists()
        self._generation = 0
        self._synced: tuple[int, int] | None = None
        self._rewritten: tuple[int, int] | None = None
        self._file = _opened(path)
        self._confirmed_at = self._read_at = self._end_at = HEAD_BYTES
        self._since_ms = 0
        self._last: KafkaRecord | None = None
        self._damage: FilePart | None = None
        self._known_damage: set[int] = set()
        try:
            self._find_records()
        except SpillError:
            self._file.close()
            raise

    def __bool__(self) -> bool:
        """Return whether there are records that were not read yet."""
        return self.unread > 0

    @property
    def has_unconfirmed(self) -> bool:
        """Whether records were read that are not confirmed yet."""
        return self._confirmed_at < self._read_at

    @property
    def is_synced(self) -> bool:
        """Whether all appended records are on disk, as far as the disk has confirmed it."""
        if self._sync_failed:
            return False
        return self._end_at == HEAD_BYTES or self._synced == (self._generation, self._end_at)

    def take_unreadable(self) -> list[UnreadableSpan]:
        """Return the parts that were found unreadable since the last call."""
        unreadable, self._unreadable = self._unreadable, []
        return unreadable

    def append(self, records: Iterable[KafkaRecord]) -> None:
        """Append `records`.

        :raises OSError: there is no space; none of them counts as written.
        """
        taken = list(records)
        packed = [pack_record(record) for record in taken]
        content = b"".join(packed)
        if self._end_at == HEAD_BYTES and taken:
            self._since_ms = next(filter(None, map(received_ms, taken)), 0)
            self._write_head()
        try:
            self._file.seek(self._end_at)
            _write(self._file, content)
        except OSError:
            self._file.truncate(self._end_at)
            raise
        self._end_at += len(content)
        self.unread += len(packed)

    def sync(self) -> None:
        """Force appended records to disk, possibly in another thread; then call `finish_sync`.

        After a failed fsync the system may have dropped data, and another fsync would not report
        that (Linux). So the next call rewrites the whole file.

        :raises OSError: the disk reports an error; nothing counts as synced.
        """
        generation, end_at = self._generation, self._end_at
        if self._sync_failed:
            if self._rewritten is None:
                self._rewrite(end_at)
                self._rewritten = generation, end_at
            return
        try:
            os.fsync(self._file.fileno())
            if not self._name_is_synced:
                sync_folder(self.path.parent)
        except OSError:
            self._sync_failed = True
            raise
        self._name_is_synced = True
        self._synced = generation, end_at

    def finish_sync(self) -> None:
        """Install the file that `sync` rewrote, with what was appended in the meantime.

        It counts as synced only after the next `sync`.

        :raises OSError: there is no space for it; the old file stays in use.
        """
        if self._rewritten is None:
            return
        (generation, end_at), self._rewritten = self._rewritten, None
        new = self._new_path
        if generation != self._generation:  # all records were delivered in the meantime
            new.unlink()
            return
        file = FileIO(new, "r+b")
        try:
            file.seek(end_at)
            self._copy(file, end_at, self._end_at)
        except OSError:
            file.close()
            new.unlink()
            raise
        new.replace(self.path)
        self._file.close()
        self._file = file
        self._write_head()
        self._sync_failed, self._name_is_synced = False, False
        self._synced = None

    def read(self) -> list[KafkaRecord]:
        """Return the next records, a few MiB. They stay in the file until `confirm`."""
        found: list[KafkaRecord] = []
        start_at = self._read_at
        for span in self._spans(start_at, self._end_at):
            self._read_at = span.end_at
            if span.record is None:
                continue
            found.append(span.record)
            if span.end_at - start_at >= BLOCK_BYTES:
                break
        self.unread = self.unread - len(found) if self._read_at < self._end_at else 0
        return found

    def confirm(self) -> None:
        """Confirm that all records that were read are delivered; truncate an empty file."""
        if not self:
            self._read_at = self._end_at = HEAD_BYTES
            self._generation += 1
            self._known_damage.clear()
            self._file.truncate(HEAD_BYTES)
        self._confirmed_at = self._read_at
        self._since_ms = self._last_ms()
        self._write_head()

    def replace(self, records: Iterable[KafkaRecord]) -> None:
        """Replace the content by `records`, followed by what was not read yet.

        :raises OSError: they cannot be written or synced; the file is unchanged.
        """
        first = list(records)
        since_ms = next(filter(None, map(received_ms, first)), self._last_ms())
        file = FileIO(self._new_path, "w+b")
        try:
            _write(file, pack_header(HEAD_BYTES, since_ms))
            for record in first:
                _write(file, pack_record(record))
            self._copy(file, self._read_at, self._end_at)
            os.fsync(file.fileno())
            self._new_path.replace(self.path)
        except BaseException:
            file.close()
            self._new_path.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)
        self._file.close()
        self._file = file
        self._sync_failed, self._name_is_synced, self._rewritten = False, True, None
        self._generation += 1
        unreadable, self._unreadable = self._unreadable, []
        self._find_records()
        self._unreadable = unreadable
        self._synced = self._generation, self._end_at

    def close(self) -> None:
        self._file.close()

    @property
    def _new_path(self) -> Path:
        return self.path.with_suffix(".new")

    def _rewrite(self, end_at: int) -> None:
        """Write the unconfirmed part to another file, at the same positions, and sync it."""
        with FileIO(self._new_path, "w+b") as file:
            start_at = self._confirmed_at
            _write(file, pack_header(start_at, self._since_ms))
            file.seek(start_at)
            self._copy(file, start_at, end_at)
            os.fsync(file.fileno())

    def _copy(self, file: FileIO, start_at: int, end_at: int) -> None:
        """Copy a part of this file to the current position of `file`."""
        with self.path.open("rb") as old:
            old.seek(start_at)
            left = end_at - start_at
            while left > 0 and (part := old.read(min(left, BLOCK_BYTES))):
                _write(file, part)
                left -= len(part)

    def _find_records(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        self._confirmed_at = self._read_at = self._end_at = HEAD_BYTES
        self.unread = 0
        self._last, self._damage = None, None
        self._known_damage.clear()
        if size < HEAD_BYTES:
            self._check_format()
            self._file.truncate(0)
            self._write_head()
            return
        self._read_head(size)
        for span in self._spans(self._read_at, size):
            if span.record is not None:
                self._check_feed(span.record)
                self._end_at = span.end_at
                self.unread += 1
        self._last = None  # the records found are not read yet
        self._file.truncate(self._end_at)

    def _check_feed(self, record: KafkaRecord) -> None:
        found = feed_of(record)
        if self._feed is not None and found is not None and found != self._feed:
            raise SpillError(
                f"{self.path} holds messages of the feed {found}, but TICKHOUSE_FEED is "
                f"{self._feed}, and feeds are never mixed. If the messages are wanted, start once "
                f"more with TICKHOUSE_FEED={found}, which sends them; otherwise move the file away."
            )

    def _check_format(self) -> None:
        self._file.seek(0)
        found = self._file.read(len(FORMAT))
        if not FORMAT.startswith(found):
            raise SpillError(
                f"{self.path} is not a spill file that this version can read: it begins "
                f"with {found!r}, not with {FORMAT!r}. Move it away, or start the version that "
                "wrote it once more; what it holds is not sent otherwise."
            )

    def _read_head(self, size: int) -> None:
        self._check_format()
        header = unpack_header(self._file)
        if header is not None and HEAD_BYTES <= header[0] <= size:
            start_at, self._since_ms = header
            self._confirmed_at = self._read_at = self._end_at = start_at
            return
        log.error("%s: its header is corrupt, so all of it is sent again", self.path)
        self._since_ms = 0

    def _spans(self, start_at: int, end_at: int) -> Iterator[FilePart]:
        """Yield the records between two positions, and the unreadable parts between them."""
        with self.path.open("rb") as file:
            at = start_at
            while at < end_at:
                span = part_at(file, at, end_at)
                at = span.end_at
                if span.record is None:
                    self._damage = self._damage or span
                elif _TIME in span.record.value:
                    self._record_damage(received_ms(span.record) if self._damage else None)
                    self._last = span.record
                yield span
        self._record_damage(None)

    def _last_ms(self) -> int:
        """Return when the last message that was read, or the last before the file, was received."""
        return (received_ms(self._last) if self._last else 0) or self._since_ms

    def _record_damage(self, to_ms: int | None) -> None:
        """Report an unreadable part, if there was one, once the record after it is known."""
        damage, self._damage = self._damage, None
        if damage is None or damage.start_at in self._known_damage:
            return
        self._known_damage.add(damage.start_at)
        log.error(
            "%s: %d bytes at byte %d cannot be read (a record is cut off, or its checksum is "
            "wrong); what they held is lost%s",
            self.path,
            damage.end_at - damage.start_at,
            damage.start_at,
            "" if to_ms is None else ", what lies behind them is sent",
        )
        self._unreadable.append(UnreadableSpan(self._last_ms(), to_ms))

    def _write_head(self) -> None:
        self._file.seek(0)
        _write(self._file, pack_header(self._confirmed_at, self._since_ms))


def _opened(path: Path) -> FileIO:
    """Open without a buffer, so that what could not be written is not written elsewhere later."""
    return FileIO(path, "r+b" if path.exists() else "w+b")


def _write(file: FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
