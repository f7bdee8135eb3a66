"""Server-Sent Events: a snapshot first, then what changed, at most ten times a second.

A stream holds no queue. It remembers the version it has sent and asks the book for what is newer,
so a slow reader gets fewer and later states, never a backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from app.dashboard.page import Page, bar_json

PACE_S = 0.1
GLANCE_S = 0.02
"""Other symbols' changes wake a stream too: this bounds how often it looks."""
STATUS_S = 1.0
SNAPSHOT_BARS = 500
RETRY_MS = 2_000


class Pulse:
    """Wakes every waiting stream; may be struck from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._struck = asyncio.Event()
        self.stopped = False

    def strike(self) -> None:
        """Something changed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """End every stream; called on the event loop."""
        self.stopped = True
        self._wake()

    def _wake(self) -> None:
        self._struck.set()
        self._struck = asyncio.Event()

    def next(self) -> asyncio.Event:
        """The next strike; take it before looking for changes, so that none is missed."""
        return self._struck


async def _until(strike: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(strike.wait(), timeout=max(timeout_s, 0))


async def stream(page: Page, pulse: Pulse, symbol: str) -> AsyncIterator[bytes]:
    """The events of one reader of `symbol`: snapshot, candles, summary, status.

    `status` comes each second and tells a reader that the connection lives.
    """
    loop = asyncio.get_running_loop()
    yield f"retry: {RETRY_MS}\n\n".encode()
    bars, version = await asyncio.to_thread(page.candles, symbol, SNAPSHOT_BARS)
    yield event("snapshot", {"symbol": symbol, "candles": bars})
    sent_summary = b""
    next_status = loop.time()
    while not pulse.stopped:
        strike = pulse.next()
        changed, version = page.book.since(symbol, version)
        if changed:
            candles = [bar_json(bar) for bar in changed]
            news = {"symbol": symbol, "candles": candles, "line": page.line(symbol)}
            yield event("candles", news)
        if loop.time() >= next_status:
            next_status = loop.time() + STATUS_S
            summary = await asyncio.to_thread(page.summary)
            if summary is not sent_summary:
                sent_summary = summary
                yield raw_event("summary", summary)
            yield event("status", page.status())
        await asyncio.sleep(PACE_S if changed else GLANCE_S)
        await _until(strike, next_status - loop.time())


def event(name: str, value: Any) -> bytes:
    """One event, its value as JSON in one line."""
    return raw_event(name, msgspec.json.encode(value))


def raw_event(name: str, value: bytes) -> bytes:
    """One event of a value that is JSON already."""
    return b"event: " + name.encode() + b"\ndata: " + value + b"\n\n"
