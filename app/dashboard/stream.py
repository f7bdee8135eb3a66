"""Server-sent events: a snapshot, then changed candles, at most ten times a second.

A stream has no queue. It keeps the version it last sent and reads newer changes from the live
candles, so a slow client gets fewer updates, not a backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from app.dashboard.page import Page, bar_json

EVENT_INTERVAL_S = 0.1
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


async def stream(page: Page, notifier: ChangeNotifier, symbol: str) -> AsyncIterator[bytes]:
    """Yield the events for one client that watches `symbol`: snapshot, candles, summary, status.

    `status` is sent each second and doubles as a heartbeat.
    """
    loop = asyncio.get_running_loop()
    yield f"retry: {RETRY_MS}\n\n".encode()
    bars, version = await asyncio.to_thread(page.candles, symbol, SNAPSHOT_BARS)
    yield event("snapshot", {"symbol": symbol, "candles": bars})
    sent_summary = b""
    next_status = loop.time()
    while not notifier.stopped:
        change = notifier.next_change()
        changed, version = page.live.since(symbol, version)
        if changed:
            candles = [bar_json(bar) for bar in changed]
            summary_of_symbol = page.symbol_summary(symbol)
            update = {"symbol": symbol, "candles": candles, "summary": summary_of_symbol}
            yield event("candles", update)
        if loop.time() >= next_status:
            next_status = loop.time() + STATUS_S
            summary = await asyncio.to_thread(page.summary)
            if summary is not sent_summary:
                sent_summary = summary
                yield raw_event("summary", summary)
            yield event("status", page.status())
        await asyncio.sleep(EVENT_INTERVAL_S if changed else MIN_INTERVAL_S)
        await _wait(change, next_status - loop.time())


def event(name: str, value: Any) -> bytes:
    """Encode an event whose value becomes one line of JSON."""
    return raw_event(name, msgspec.json.encode(value))


def raw_event(name: str, value: bytes) -> bytes:
    """Encode an event whose value is JSON already."""
    return b"event: " + name.encode() + b"\ndata: " + value + b"\n\n"
