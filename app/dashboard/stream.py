"""Server-sent events: a snapshot, then changed candles, at most five times a second.

A stream has no queue. It keeps the version it last sent and gets what is newer from its channel, so
a slow client gets fewer updates, not a backlog. The version is also the event's id: a client that
reconnects with Last-Event-ID gets what has changed since, without a snapshot. A client that was
away or slow for so long that some of those changes are no longer held gets another snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

from app.contracts import Interval
from app.dashboard.broadcast import Broadcaster, Heartbeat, event, event_id
from app.dashboard.page import Page
from app.dashboard.shown import ShownCandle

SNAPSHOT_BARS = 500
RETRY_MS = 2_000


async def stream(
    broadcaster: Broadcaster,
    symbol: str,
    interval: Interval = "1m",
    last_event_id: str | None = None,
) -> AsyncGenerator[bytes]:
    """Yield the events for one client that watches `symbol`: snapshot, candles, summary, status.

    `status` is sent each second and doubles as a heartbeat. What is due at the same time comes in
    one piece, as each costs a write to the client's connection.

    The stream ends with the server, or after an error, which is logged: the client connects again.

    :param last_event_id: the id of the last event that the client has of this symbol and interval;
        one of another server process is answered with a snapshot.
    """
    with broadcaster.watch(symbol, interval) as channel:
        yield f"retry: {RETRY_MS}\n\n".encode()
        holds_since = partial(broadcaster.page.live.holds_since, symbol, interval=interval)
        resumed = resumed_version(broadcaster.server_id, last_event_id)
        version, step, heartbeat = resumed or 0, -1, Heartbeat()
        if resumed is None:
            step = channel.step
            first, version = await _snapshot(broadcaster, symbol, interval)
            yield first
        while not channel.task.done():
            next_step = channel.next_step()
            due = b""
            if channel.step != step:
                step = channel.step
                if holds_since(version):
                    due, version = channel.update(version)
                else:
                    due, version = await _snapshot(broadcaster, symbol, interval)
            if channel.heartbeat is not heartbeat:
                is_same = channel.heartbeat.summary is heartbeat.summary
                heartbeat = channel.heartbeat
                due += heartbeat.status if is_same else heartbeat.summary + heartbeat.status
            if due:
                yield due
            await next_step.wait()


async def _snapshot(broadcaster: Broadcaster, symbol: str, interval: Interval) -> tuple[bytes, int]:
    """The event with the candles a view begins with, and their version."""
    candles, has_older, version = await asyncio.to_thread(
        newest_candles, broadcaster.page, symbol, interval
    )
    snapshot = {"symbol": symbol, "interval": interval, "candles": candles, "has_older": has_older}
    return event("snapshot", snapshot, event_id(broadcaster.server_id, version)), version


def newest_candles(
    page: Page, symbol: str, interval: Interval
) -> tuple[list[ShownCandle], bool, int]:
    """The candles a view begins with, whether there may be older ones, and the live version."""
    candles, version = page.candles(symbol, SNAPSHOT_BARS, interval)
    return candles, len(candles) == SNAPSHOT_BARS, version


def resumed_version(server_id: str, last_event_id: str | None) -> int | None:
    """The version that an event's id stands for; None when this process did not send the event."""
    sender, _, version = (last_event_id or "").partition("-")
    is_number = version.isascii() and version.isdigit() and len(version) < 19
    return int(version) if sender == server_id and is_number else None
