"""What event streams share: each change is found, paced and encoded once for all who watch it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from app.contracts import Interval
from app.dashboard.page import Page

log = logging.getLogger("tickhouse.dashboard")

EVENT_INTERVAL_S = 0.2
"""A browser draws the whole chart at each event: how often decides what an open page costs."""
MIN_INTERVAL_S = 0.02
"""Changes of other symbols wake a channel too: this limits how often it checks."""
STATUS_S = 1.0
MAX_UPDATES = 50
"""How many versions a channel keeps the encoded changes after; most streams have the same one."""


class Heartbeat(Struct, frozen=True):
    """The events that every stream sends each second."""

    summary: bytes = b""
    """the same object until it changes"""
    status: bytes = b""


class Broadcaster:
    """The channels that streams watch; made on the event loop that runs them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.server_id = secrets.token_hex(4)
        """Distinguishes the events of this process from those of an earlier one."""
        self._loop = asyncio.get_running_loop()
        self._channels: dict[tuple[str, Interval], Channel] = {}
        self._changed = asyncio.Event()
        self._is_awaited = False
        self._summary = b""
        self._heartbeat = Heartbeat()
        self._heartbeat_lock = asyncio.Lock()
        self._next_heartbeat = 0.0
        """The loop's time at which `heartbeat` makes another one."""
        self.streams = 0
        """How many are open."""
        self.stopped = False

    @contextlib.contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count a stream as open within the block."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def notify(self) -> None:
        """Wake the channels that wait for a change; may be called from any thread."""
        if self._is_awaited and not self._loop.is_closed():
            self._is_awaited = False
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def next_change(self) -> asyncio.Event:
        """The event of the next change; get it before reading changes, so that none is missed."""
        self._is_awaited = True
        return self._changed

    def stop(self) -> None:
        """End every stream; called on the event loop."""
        self.stopped = True
        for channel in self._channels.values():
            channel.task.cancel()

    async def heartbeat(self) -> Heartbeat:
        """Summary and status, at most a second old."""
        async with self._heartbeat_lock:
            if (now := self._loop.time()) >= self._next_heartbeat:
                summary = await asyncio.to_thread(self.page.summary)
                is_same = summary is self._summary
                encoded = self._heartbeat.summary if is_same else raw_event("summary", summary)
                self._summary = summary
                self._heartbeat = Heartbeat(encoded, event("status", self.page.status()))
                self._next_heartbeat = now + STATUS_S
            return self._heartbeat

    def until_heartbeat_s(self) -> float:
        """How long `heartbeat` returns the same one, seconds."""
        return max(self._next_heartbeat - self._loop.time(), 0)

    @contextlib.contextmanager
    def watch(self, symbol: str, interval: Interval) -> Iterator[Channel]:
        """The channel of `symbol`, which lasts as long as somebody watches it.

        One that has failed is replaced, though slow clients may still be at its last update.
        """
        key = (symbol, interval)
        channel = self._channels.get(key)
        if channel is None or channel.task.done():
            channel = self._channels[key] = Channel(self, symbol, interval)
            if self.stopped:
                channel.task.cancel()
        channel.streams += 1
        try:
            yield channel
        finally:
            channel.streams -= 1
            if channel.streams == 0:
                channel.task.cancel()
                if self._channels.get(key) is channel:
                    del self._channels[key]


class Channel:
    """The candles of one symbol and interval, and the newest heartbeat."""

    def __init__(self, broadcaster: Broadcaster, symbol: str, interval: Interval) -> None:
        self._broadcaster = broadcaster
        self._page = broadcaster.page
        self._symbol = symbol
        self._interval = interval
        self._published = asyncio.Event()
        self._updates: dict[int, tuple[bytes, int]] = {}
        self._state = self._newest()
        self.streams = 0
        """How many watch it."""
        self.step = 0
        """How often candles have changed."""
        self.heartbeat = Heartbeat()
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._end)

    def next_step(self) -> asyncio.Event:
        """The event of the next step or of the task's end; get it before reading `step`."""
        return self._published

    def update(self, version: int) -> tuple[bytes, int]:
        """The event with what has changed after `version`, and its version; empty if nothing has.

        Until the next step, streams that have the same version get the same bytes.
        """
        if version not in self._updates:
            if len(self._updates) >= MAX_UPDATES:
                self._updates.clear()
            self._updates[version] = self._encode(version)
        return self._updates[version]

    def _encode(self, version: int) -> tuple[bytes, int]:
        candles, newest = self._page.changes(self._symbol, self._interval, version)
        if not candles:
            return b"", newest
        summary = self._page.symbol_summary(self._symbol)
        update = {"symbol": self._symbol, "candles": candles, "summary": summary}
        return event("candles", update, event_id(self._broadcaster.server_id, newest)), newest

    async def _run(self) -> None:
        while True:
            change = self._broadcaster.next_change()
            heartbeat = await self._broadcaster.heartbeat()
            newest = self._newest()
            has_changed = newest != self._state
            if has_changed:
                self._state = newest
                self._updates = {}
                self.step += 1
            if has_changed or heartbeat is not self.heartbeat:
                self.heartbeat = heartbeat
                self._publish()
            await asyncio.sleep(EVENT_INTERVAL_S if has_changed else MIN_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), self._broadcaster.until_heartbeat_s())

    def _newest(self) -> tuple[int, Any]:
        version = self._page.live.series_version(self._symbol, self._interval)
        return version, self._page.forming(self._symbol, self._interval)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error(
                "the event stream of %s %s failed", self._symbol, self._interval, exc_info=error
            )
        self._publish()

    def _publish(self) -> None:
        self._published.set()
        self._published = asyncio.Event()


def event_id(server_id: str, version: int) -> str:
    """The id of an event: what the client has after it."""
    return f"{server_id}-{version}"


def event(name: str, value: Any, id_: str = "") -> bytes:
    """Encode an event whose value becomes one line of JSON."""
    return raw_event(name, msgspec.json.encode(value), id_)


def raw_event(name: str, value: bytes, id_: str = "") -> bytes:
    """Encode an event whose value is JSON already."""
    number = b"id: " + id_.encode() + b"\n" if id_ else b""
    return number + b"event: " + name.encode() + b"\ndata: " + value + b"\n\n"
