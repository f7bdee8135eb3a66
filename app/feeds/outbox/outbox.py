"""The way out of a producer: what its tasks offer goes to Kafka in order, or waits in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC
from app.errors import TickhouseError
from app.feeds.live.coverage import Lost
from app.feeds.live.session import Outgoing
from app.feeds.outbox.publisher import Publisher, PublishError
from app.settings import Settings

SPILL_FILE = "waiting-for-kafka.bin"
FLUSH_S = 1.5
"""A stop may take 5 s: the rest is for the farewell to the server, and to keep what is left."""
_CORRECT_S = 0.5
_DRAIN_S = 0.02

log = logging.getLogger(__name__)


class Outlet:
    """A publisher driven by an event loop.

    :param correct: makes corrections of coverage for what of the feed is lost on the way.
    :ivar room: cleared while neither memory nor disk takes more: nothing is to be made then.
    :ivar broken: ends with an error when Kafka takes no more messages.
    :ivar corrections: how often something was found to be lost, and coverage corrected.
    """

    def __init__(self, settings: Settings, correct: Callable[[list[Lost]], list[Outgoing]]) -> None:
        self._settings = settings
        self._spill = settings.home / SPILL_FILE
        self._publisher = Publisher(settings, self._spill, ready=False)
        self._correct = correct
        self.corrections = 0
        self.room = asyncio.Event()
        self.room.set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling = False
        self._draining: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._sync_failed = False

    def begin(self) -> None:
        """The topics are there: send what waits."""
        self._publisher.begin()

    def offer(self, messages: list[Outgoing]) -> None:
        """Send in order: as soon as nothing more is there to be read that could be joined."""
        self._publisher.offer(messages)
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def serve(self) -> None:
        """Hear what Kafka has to say, and secure what waits; to be called about each second.

        :raises PublishError: Kafka takes no more messages.
        """
        self._publisher.serve()
        self._correct_lost()
        if self._publisher.must_sync and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(self._sync())

    def _correct_lost(self) -> bool:
        """Have coverage corrected for what is lost; whether there was something."""
        lost = self._publisher.take_lost()
        if lost:
            self.corrections += 1
            self.offer(self._correct(lost))
        return bool(lost)

    async def _sync(self) -> None:
        """Force to the disk what was spilled, aside: a slow disk takes its time."""
        try:
            await asyncio.to_thread(self._publisher.sync)
            self._publisher.adopt()
        except OSError as error:
            if not self._sync_failed:
                log.error(
                    "%s cannot be forced to the disk: %s. What waits there is lost if this machine "
                    "fails; it is tried again each second. Look after the disk.",
                    self._spill,
                    error,
                )
            self._sync_failed = True
            return
        if self._sync_failed and not self._publisher.must_sync:
            log.warning("what waits in %s is on the disk again", self._spill)
            self._sync_failed = False

    def last(self) -> int:
        """The number of the last message so far; it is joined with none that comes later."""
        return self._publisher.last()

    @property
    def settled(self) -> int:
        """The number up to which every message is in Kafka, or its loss corrected."""
        return self._publisher.settled

    async def finish(self, repeated_frames: int, trades: int) -> None:
        """Wait for Kafka, keep for the next start what it did not take, and say what was done.

        :raises PublishError: messages could not be kept.
        """
        if self._draining is not None:
            self._draining.cancel()
        if self._syncing is not None:
            await self._syncing
        left = await self._flush(FLUSH_S)
        if self._correct_lost():
            left = await self._flush(_CORRECT_S)
        kept = await asyncio.to_thread(self._publisher.keep) if left else 0
        self._say(repeated_frames, trades, kept)

    def check(self) -> None:
        """Say at the end whether messages were lost on the way.

        :raises PublishError: Kafka has refused some for good.
        """
        if self._publisher.failed:
            stocks, rejected = map(self._settings.named, (STOCKS_TOPIC, REJECTED_TOPIC))
            raise PublishError(
                f"{self._publisher.failed} messages did not reach {stocks} or {rejected}: Kafka at "
                f"{self._settings.kafka_brokers} refused them for good. What {stocks} lacks is "
                f"recorded in {rejected} and does not count as covered. Correct the settings of "
                "the topics."
            )

    async def _flush(self, most_s: float) -> int:
        try:
            return await asyncio.to_thread(self._publisher.flush, most_s)
        except PublishError as error:
            log.error("%s", error)
            return 1

    def _say(self, repeated_frames: int, trades: int, kept: int) -> None:
        sent = self._publisher.sent
        log.info(
            "flushed: %d trades in %d messages, %d watermarks, %d quotes, %d rejections; "
            "%d repeated frames were dropped",
            trades,
            sent["Trades"],
            sent["Watermark"],
            sent["Quote"],
            sent["RejectionRecord"],
            repeated_frames,
        )
        if kept:
            log.warning(
                "%d of these messages did not reach Kafka at %s in time; they are kept in %s, and "
                "the next start sends them first",
                kept,
                self._settings.kafka_brokers,
                self._spill,
            )

    def _settle(self) -> None:
        self._settling = False
        if self.broken.done():
            return
        try:
            has_room = self._publisher.settle()
        except TickhouseError as error:
            self.broken.set_exception(error)
            return
        if has_room:
            self.room.set()
        elif self.room.is_set():
            log.warning("memory and disk are full; the feed is held back until there is room")
            self.room.clear()
        if self._publisher.is_behind and (self._draining is None or self._draining.done()):
            self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        """While messages wait, look often whether they can go on."""
        while self._publisher.is_behind and not self.broken.done():
            await asyncio.sleep(_DRAIN_S)
            self._settle()
