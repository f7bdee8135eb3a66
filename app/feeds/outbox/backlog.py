"""What waits for Kafka: in order, in memory up to a limit, and beyond it in a file."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from app.feeds.outbox.spill_file import KafkaRecord, SpillFile, UnreadableSpan

log = logging.getLogger(__name__)


class Numbered(NamedTuple):
    """A record and its number in the order in which all of them are to reach Kafka."""

    number: int
    record: KafkaRecord


class Backlog:
    """Records in their order: those that came back, those in the file, those in memory.

    Records are numbered from 1 as they are added; what an earlier run left in the file comes before
    that.

    :param limit_bytes: what memory may hold; beyond it the oldest go to the file.
    :param spill: the file; without it nothing leaves memory.
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
        """How many records there are, in the file those that were not read yet."""
        return len(self._front) + len(self._waiting) + self._unread

    @property
    def in_memory_bytes(self) -> int:
        return self._bytes

    @property
    def first(self) -> int:
        """The number of the first record there is, or of the next that is added."""
        if self._front:
            return self._front[0].number
        return self.added - len(self._waiting) - self._unread + 1

    def add(self, record: KafkaRecord) -> None:
        """Put `record` behind all others."""
        self.added += 1
        self._waiting.append(record)
        self._bytes += record.size
        if self._bytes > self._limit_bytes and self._spill is not None and not self._failed:
            self._relieve(self._spill)

    @property
    def has_room(self) -> bool:
        """Whether more may be added; not while memory is full and the file cannot be written."""
        if self._bytes <= self._limit_bytes or self._spill is None:
            return True
        self._relieve(self._spill)
        return not self._failed

    @property
    def must_sync(self) -> bool:
        """Whether something went to the file that a crash of the machine could lose."""
        return self._spill is not None and not self._spill.is_synced

    def sync(self) -> None:
        """Force to the disk what went to the file; a thread of its own may do it, then `finish_sync`.

        :raises OSError: the disk refuses.
        """
        if self._spill is not None and not self._spill.is_synced:
            self._spill.sync()

    def finish_sync(self) -> None:
        """Put in place what `sync` had to write anew; see `SpillFile.finish_sync`.

        :raises OSError: there is no room for it.
        """
        if self._spill is not None:
            self._spill.finish_sync()

    def take_unreadable(self) -> list[UnreadableSpan]:
        """What in the file was found unreadable since this was asked last."""
        return self._spill.take_unreadable() if self._spill is not None else []

    def give_back(self, records: Iterable[Numbered]) -> None:
        """Put `records`, which were taken, before all others again."""
        self._front = deque(sorted([*records, *self._front]))

    def peek(self, all_delivered: bool) -> Numbered | None:
        """The next record; None if there is none, or if those of the file must arrive first.

        :param all_delivered: whether everything that was taken has reached Kafka.
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
        """Take what `peek` gave."""
        if self._front:
            self._front.popleft()
        else:
            self._bytes -= self._waiting.popleft().size

    def spill_all(self, undelivered: Iterable[KafkaRecord]) -> int:
        """Store all there is in the file, `undelivered` before it, for the next start.

        :returns: how many records are kept.
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

    def _relieve(self, spill: SpillFile) -> None:
        """Move the oldest of memory to the file until an eighth is free."""
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
                log.error("%s cannot be written: %s. Make room there.", spill.path, error)
            self._failed = True
            return
        self._failed = False
        for _ in moved:
            self._waiting.popleft()
        self._bytes -= size
