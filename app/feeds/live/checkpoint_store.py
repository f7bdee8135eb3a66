"""Store the coverage checkpoint once all earlier messages are in Kafka."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.errors import TickhouseError
from app.feeds.live.coverage import CoverageCheckpoint, load_checkpoint, store_checkpoint
from app.feeds.live.session import FeedSession
from app.feeds.outbox.outbox import Outbox

CHECKPOINT_FILE = "coverage-checkpoint.json"

log = logging.getLogger(__name__)


class _PendingCheckpoint(NamedTuple):
    """A checkpoint that may be stored once message `number` is in Kafka and no loss was found."""

    number: int
    corrections: int
    checkpoint: CoverageCheckpoint


class CheckpointStore:
    """The checkpoints of a session. A thread writes one at a time.

    :param path: the file; see `stored_checkpoint`.
    :param server: the address of the server, whose feed is known.
    """

    def __init__(self, path: Path, session: FeedSession, outbox: Outbox, server: str = "") -> None:
        self._path = path
        self._server = server
        self._session = session
        self._outbox = outbox
        self._failed = False
        self._pending: _PendingCheckpoint | None = None
        self._storing: asyncio.Task[None] | None = None

    def each_second(self) -> None:
        """Store the coverage checkpoint, as far as its messages are in Kafka."""
        if self._storing is not None and not self._storing.done():
            return
        pending = self._pending
        if pending is not None and pending.corrections != self._outbox.corrections:
            pending = None  # it counts messages as covered that are lost
        if pending is not None and self._outbox.delivered_up_to >= pending.number:
            self._storing = asyncio.create_task(self._store(pending.checkpoint))
            pending = None
        if pending is None and not self._session.has_pending_trades:
            number, corrections = self._outbox.last(), self._outbox.corrections
            pending = _PendingCheckpoint(number, corrections, self._session.checkpoint())
        self._pending = pending

    async def finish(self) -> None:
        """Store the last checkpoint, after the outbox has finished."""
        if self._storing is not None:
            await self._storing
        await self._store(self._session.checkpoint())

    async def _store(self, checkpoint: CoverageCheckpoint) -> None:
        """Store a checkpoint. Neither a full nor a slow disk stops the producer."""
        try:
            checkpoint = msgspec.structs.replace(checkpoint, server=self._server)
            await asyncio.to_thread(store_checkpoint, self._path, checkpoint)
        except OSError as error:
            if not self._failed:
                log.error("%s cannot be written: %s. Free some space there.", self._path, error)
            self._failed = True
        else:
            self._failed = False


def stored_checkpoint(path: Path) -> CoverageCheckpoint | None:
    """Return the checkpoint of the previous run; None without one.

    :raises TickhouseError: the file cannot be read.
    """
    try:
        return load_checkpoint(path)
    except (msgspec.DecodeError, OSError) as error:
        raise TickhouseError(
            f"The coverage checkpoint {path} cannot be read ({error}). Delete it; the minutes in "
            "which the producer was down are then not reported as a gap."
        ) from None
