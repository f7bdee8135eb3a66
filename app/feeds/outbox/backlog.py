"""A queue of records for Kafka: in memory up to a limit, and in a file beyond it."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from app.feeds.outbox.spill_file import SpillFile, UnreadableSpan
from app.feeds.outbox.spill_format import KafkaRecord

log = logging.getLogger(__name__)


class Numbered(NamedTuple):
    """A record, and its number in the order of delivery."""

    number: int
    record: KafkaRecord


class Backlog:
    """A queue of records: first the returned ones, then those in the file, then those in memory.

    Records are numbered from 1 as they are added. Records that an earlier run left in the file come
    first.

    :param limit_bytes: the memory limit; beyond it the oldest records move to the file.
    :param spill: the file; without it all records stay in memory.
    :ivar added: the number of the last record that was added.
    """

    def __init__(self, limit_bytes: int, spill: SpillFile | None = None) -> None:
        self.added = 0
        self._limit_bytes = limit_bytes
        self._spill = spill
        self._front: deque[Numbered] = deque()
        self._waiting: deque[KafkaRecord] = deque()
        self._bytes = 0
        self._failed = False

    def __len__(self) -> int:
        """Return the number of records, including those in the file that were not read yet."""
        return len(self._front) + len(self._waiting) + self._unread

    @property
    def in_memory_bytes(self) -> int:
        return self._bytes

    @property
    def first(self) -> int:
        """The number of the first record, or of the next one to be added."""
        if self._front:
            return self._front[0].number
        return self.added - len(self._waiting) - self._unread + 1

    def add(self, record: KafkaRecord) -> None:
        """Append `record`."""
        self.added += 1
        self._waiting.append(record)
        self._bytes += record.size
        if self._bytes > self._limit_bytes and self._spill is not None and not self._failed:
            self._spill_oldest(self._spill)

    @property
    def has_room(self) -> bool:
        """Whether more may be added; false while memory is full and the file cannot be written."""
        if self._bytes <= self._limit_bytes or self._spill is None:
            return True
        self._spill_oldest(self._spill)
        return not self._failed

    @property
    def must_sync(self) -> bool:
        """Whether the file holds records that a crash of the machine could lose."""
        return self._spill is not None and not self._spill.is_synced

    def sync(self) -> None:
        """Force the file to disk. It may run in another thread; call `finish_sync` afterwards.

        :raises OSError: the disk reports an error.
        """
        if self._spill is not None and not self._spill.is_synced:
            self._spill.sync()

    def finish_sync(self) -> None:
        """Install the file that `sync` rewrote, if it did (`SpillFile.finish_sync`).

        :raises OSError: there is no space for it.
        """
        if self._spill is not None:
            self._spill.finish_sync()

    def take_unreadable(self) -> list[UnreadableSpan]:
        """Return the parts of the file that were found unreadable since the last call."""
        return self._spill.take_unreadable() if self._spill is not None else []

    def requeue(self, records: Iterable[Numbered]) -> None:
        """Put back `records`, which were taken, before all others."""
        self._front = deque(sorted([*records, *self._front]))

    def peek(self, all_delivered: bool) -> Numbered | None:
        """Return the next record; None without one.

        It is also None while records of the file must be delivered before more of it is read.

        :param all_delivered: whether all records that were taken have reached Kafka.
        """
        if not self._front and self._spill is not None:
            if self._spill.has_unconfirmed:
                if not all_delivered:
                    return None
                self._spill.confirm()
            if self._spill:
                first = self.first
                self._front.extend(map(Numbered, itertools.count(first), self._spill.read()))
        if self._front:
            return self._front[0]
        return Numbered(self.first, self._waiting[0]) if self._waiting else None

    def pop(self) -> None:
        """Remove the record that `peek` returned."""
        if self._front:
            self._front.popleft()
        else:
            self._bytes -= self._waiting.popleft().size

    def spill_all(self, undelivered: Iterable[KafkaRecord]) -> int:
        """Write all records to the file for the next start, `undelivered` first.

        :returns: the number of records in the file.
        :raises OSError: they cannot be written.
        """
        if self._spill is None:
            return 0
        first = [*undelivered, *(record for _, record in self._front)]
        self._spill.replace(first)
        self._spill.append(self._waiting)
        self._spill.sync()
        return self._spill.unread

    @property
    def _unread(self) -> int:
        return self._spill.unread if self._spill is not None else 0

    def _spill_oldest(self, spill: SpillFile) -> None:
        """Move the oldest records from memory to the file until an eighth of the memory is free."""
        moved, size = [], 0
        goal = self._bytes - self._limit_bytes * 7 // 8
        for record in self._waiting:
            if size >= goal:
                break
            moved.append(record)
            size += record.size
        try:
            spill.append(moved)
        except OSError as error:
            if not self._failed:
                log.error("%s cannot be written: %s. Free some space there.", spill.path, error)
            self._failed = True
            return
        self._failed = False
        for _ in moved:
            self._waiting.popleft()
        self._bytes -= size
