"""The producer's outbox: deliver messages to Kafka in order, from an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.contracts import REJECTED_TOPIC, STOCKS_TOPIC
from app.errors import TickhouseError
from app.feeds.messages.outgoing import LostSpan, Outgoing
from app.feeds.outbox.publisher import Publisher, PublishError
from app.settings import Settings

SPILL_FILE = "waiting-for-kafka.bin"
FLUSH_S = 1.5
"""A stop may take 5 s; the rest is for closing the connections and writing the spill file."""
_CORRECT_S = 0.5
_DRAIN_S = 0.02

log = logging.getLogger(__name__)


class Outbox:
    """A publisher driven by an event loop.

    :param correct: returns corrections of coverage for messages that were lost on the way.
    :ivar writable: cleared while neither memory nor disk has room; the feed must not be read then.
    :ivar failure: completes with an error when Kafka accepts no more messages.
    :ivar corrections: how often a loss was found and coverage corrected.
    """

    def __init__(
        self, settings: Settings, correct: Callable[[list[LostSpan]], list[Outgoing]]
    ) -> None:
        self._settings = settings
        self._spill = settings.home / SPILL_FILE
        self._publisher = Publisher(settings, self._spill, ready=False)
        self._correct = correct
        self.corrections = 0
        self.writable = asyncio.Event()
        self.writable.set()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_scheduled = False
        self._draining: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._sync_failed = False

    def topics_ready(self) -> None:
        """Start sending, because the topics exist."""
        self._publisher.topics_ready()

    def offer(self, messages: list[Outgoing]) -> None:
        """Send `messages` in order, once no more frames can be coalesced with them."""
        self._publisher.offer(messages)
        if not self._send_scheduled:
            self._send_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_pending)

    def serve(self) -> None:
        """Process Kafka's reports and sync the spill file. Call it about once a second.

        :raises PublishError: Kafka accepts no more messages.
        """
        self._publisher.serve()
        self._report_lost()
        if self._publisher.must_sync and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(self._sync())

    def _report_lost(self) -> bool:
        """Send corrections of coverage for lost messages; return whether there were any."""
        lost = self._publisher.take_lost()
        if lost:
            self.corrections += 1
            self.offer(self._correct(lost))
        return bool(lost)

    async def _sync(self) -> None:
        """Force the spill file to disk in a thread, because a disk may be slow."""
        try:
            await asyncio.to_thread(self._publisher.sync)
            self._publisher.finish_sync()
        except OSError as error:
            if not self._sync_failed:
                log.error(
                    "%s cannot be synced to disk: %s. The messages in it are lost if this machine "
                    "fails; it will be retried each second. Check the disk.",
                    self._spill,
                    error,
                )
            self._sync_failed = True
            return
        if self._sync_failed and not self._publisher.must_sync:
            log.warning("the messages in %s are on disk again", self._spill)
            self._sync_failed = False

    def last(self) -> int:
        """Return the number of the last message so far; later ones are not coalesced with it."""
        return self._publisher.last()

    @property
    def delivered_up_to(self) -> int:
        """The number up to which every message is in Kafka, or its loss is corrected."""
        return self._publisher.delivered_up_to

    async def finish(self, repeated_frames: int, trades: int) -> None:
        """Wait for Kafka, store undelivered messages for the next start, and log the totals.

        :raises PublishError: messages could not be stored.
        """
        if self._draining is not None:
            self._draining.cancel()
        if self._syncing is not None:
            await self._syncing
        left = await self._flush(FLUSH_S)
        if self._report_lost():
            left = await self._flush(_CORRECT_S)
        kept = await asyncio.to_thread(self._publisher.spill_all) if left else 0
        self._log_totals(repeated_frames, trades, kept)

    def check(self) -> None:
        """Check that no messages were lost on the way.

        :raises PublishError: Kafka has rejected some permanently.
        """
        if self._publisher.failed:
            stocks, rejected = map(self._settings.named, (STOCKS_TOPIC, REJECTED_TOPIC))
            raise PublishError(
                f"{self._publisher.failed} messages did not reach {stocks} or {rejected}: Kafka at "
                f"{self._settings.kafka_brokers} rejected them for good. What {stocks} lacks is "
                f"recorded in {rejected} and does not count as covered. Correct the settings of "
                "the topics."
            )

    async def _flush(self, most_s: float) -> int:
        try:
            return await asyncio.to_thread(self._publisher.flush, most_s)
        except PublishError as error:
            log.error("%s", error)
            return 1

    def _log_totals(self, repeated_frames: int, trades: int, kept: int) -> None:
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

    def _send_pending(self) -> None:
        self._send_scheduled = False
        if self.failure.done():
            return
        try:
            has_room = self._publisher.send_pending()
        except TickhouseError as error:
            self.failure.set_exception(error)
            return
        if has_room:
            self.writable.set()
        elif self.writable.is_set():
            log.warning("memory and disk are full; the feed is paused until there is room")
            self.writable.clear()
        if self._publisher.is_behind and (self._draining is None or self._draining.done()):
            self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        """Retry frequently while messages wait."""
        while self._publisher.is_behind and not self.failure.done():
            await asyncio.sleep(_DRAIN_S)
            self._send_pending()
