"""Server-sent events: a snapshot, then changed candles, at most eight times a second.

A stream has no queue. It keeps the version it last sent and reads newer changes from the live
candles, so a slow client gets fewer updates, not a backlog. The version is also the event's id: a
client that reconnects with Last-Event-ID gets what has changed since, without a snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from app.contracts import Interval
from app.dashboard.page import Page

EVENT_INTERVAL_S = 0.125
"""A browser draws the whole chart at each event: how often decides what an open page costs."""
MIN_INTERVAL_S = 0.02
"""Changes of other symbols wake a stream too: this limits how often it checks."""
STATUS_S = 1.0
SNAPSHOT_BARS = 500
RETRY_MS = 2_000


class ChangeNotifier:
    """Wakes every waiting stream; `notify` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.stopped = False
        self.streams = 0
        """How many are open."""
        self.server_id = secrets.token_hex(4)
        """Distinguishes the events of this process from those of an earlier one."""

    def notify(self) -> None:
        """Wake the waiting streams."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """End every stream; called on the event loop."""
        self.stopped = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def next_change(self) -> asyncio.Event:
        """The event of the next change; get it before reading changes, so that none is missed."""
        return self._changed


async def _wait(change: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(change.wait(), timeout=max(timeout_s, 0))


async def stream(
    page: Page,
    notifier: ChangeNotifier,
    symbol: str,
    interval: Interval = "1m",
    last_event_id: str | None = None,
) -> AsyncIterator[bytes]:
    """Yield the events for one client that watches `symbol`: snapshot, candles, summary, status.

    `status` is sent each second and doubles as a heartbeat.

    :param last_event_id: the id of the last event that the client has of this symbol and interval;
        one of another server process is answered with a snapshot.
    """
    loop = asyncio.get_running_loop()
    yield f"retry: {RETRY_MS}\n\n".encode()
    resumed = resumed_version(notifier.server_id, last_event_id)
    version = resumed or 0
    if resumed is None:
        bars, version = await asyncio.to_thread(page.candles, symbol, SNAPSHOT_BARS, interval)
        snapshot = {"symbol": symbol, "interval": interval, "candles": bars}
        yield event("snapshot", snapshot, event_id(notifier.server_id, version))
    sent_summary, sent_forming = b"", None
    next_status = loop.time()
    while not notifier.stopped:
        change = notifier.next_change()
        candles, version = page.changes(symbol, interval, version)
        forming = page.forming(symbol, interval)
        if forming is not None and (candles or forming != sent_forming):
            candles = [*(bar for bar in candles if bar.start != forming.start), forming]
            sent_forming = forming
        if candles:
            summary_of_symbol = page.symbol_summary(symbol)
            update = {"symbol": symbol, "candles": candles, "summary": summary_of_symbol}
            yield event("candles", update, event_id(notifier.server_id, version))
        if loop.time() >= next_status:
            next_status = loop.time() + STATUS_S
            summary = await asyncio.to_thread(page.summary)
            if summary is not sent_summary:
                sent_summary = summary
                yield raw_event("summary", summary)
            yield event("status", page.status())
        await asyncio.sleep(EVENT_INTERVAL_S if candles else MIN_INTERVAL_S)
        await _wait(change, next_status - loop.time())


def event_id(server_id: str, version: int) -> str:
    """The id of an event: what the client has after it."""
    return f"{server_id}-{version}"


def resumed_version(server_id: str, last_event_id: str | None) -> int | None:
    """The version that an event's id stands for; None when this process did not send the event."""
    sender, _, version = (last_event_id or "").partition("-")
    is_number = version.isascii() and version.isdigit() and len(version) < 19
    return int(version) if sender == server_id and is_number else None


def event(name: str, value: Any, id_: str = "") -> bytes:
    """Encode an event whose value becomes one line of JSON."""
    return raw_event(name, msgspec.json.encode(value), id_)


def raw_event(name: str, value: bytes, id_: str = "") -> bytes:
    """Encode an event whose value is JSON already."""
    number = b"id: " + id_.encode() + b"\n" if id_ else b""
    return number + b"event: " + name.encode() + b"\ndata: " + value + b"\n\n"
