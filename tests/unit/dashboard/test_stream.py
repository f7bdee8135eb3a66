"""The events of one client: a snapshot, then the newest state of changed candles."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.contracts import LIVE_TOPIC, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.stream import ChangeNotifier, stream
from app.settings import Settings
from tests.candle_maker import MINUTE, START, partial

Events = AsyncIterator[bytes]


def reading(
    tmp_path: Path,
    test: Callable[[LiveCandles, ChangeNotifier, Events], Coroutine[Any, Any, None]],
) -> None:
    """Run `test` with live candles that hold one candle, and a stream of its symbol."""

    async def run() -> None:
        settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
        live = LiveCandles("replay", (LIVE_TOPIC,))
        notifier = ChangeNotifier()
        live.on_change(notifier.notify)
        move(live, 1)
        page = Page(settings, live, GoldReader(settings), lambda: START)
        await test(live, notifier, stream(page, notifier, "AAPL"))

    asyncio.run(run())


def move(live: LiveCandles, offset: int) -> None:
    record = partial(last_offset=offset, close=100 + offset)
    live.apply(LIVE_TOPIC, [TopicRecord(encode(record), START)])


async def next_event(events: Events, name: str) -> Any:
    async for event in events:
        if f"event: {name}\n".encode() in event:
            return json.loads(event.split(b"data: ", 1)[1])
    raise AssertionError(f"the stream ended without {name}")


def test_a_reader_gets_a_snapshot_then_summary_and_status(tmp_path: Path) -> None:
    async def test(
        live: LiveCandles, notifier: ChangeNotifier, events: AsyncIterator[bytes]
    ) -> None:
        assert await anext(events) == b"retry: 2000\n\n"
        assert (await next_event(events, "snapshot"))["candles"][0]["close"] == 101
        assert (await next_event(events, "summary"))["symbols"][0]["symbol"] == "AAPL"
        assert (await next_event(events, "status"))["feed"] == "replay"

    reading(tmp_path, test)


def test_a_slow_reader_gets_the_newest_state_and_no_backlog(tmp_path: Path) -> None:
    async def test(
        live: LiveCandles, notifier: ChangeNotifier, events: AsyncIterator[bytes]
    ) -> None:
        await next_event(events, "status")
        for offset in range(2, 1_000):
            move(live, offset)
        update = await next_event(events, "candles")
        assert [record["close"] for record in update["candles"]] == [1_099]
        assert update["summary"]["price"] == 1_099
        move(live, 1_000)
        assert (await next_event(events, "candles"))["candles"][0]["close"] == 1_100

    reading(tmp_path, test)


def test_a_change_while_the_stream_paces_itself_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.dashboard.stream.STATUS_S", 3_600.0)  # nothing else wakes it

    async def test(
        live: LiveCandles, notifier: ChangeNotifier, events: AsyncIterator[bytes]
    ) -> None:
        await next_event(events, "status")
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(next_event(events, "candles"))
        loop.call_later(0.02, move, live, 2)  # the stream sleeps its 0.125 s
        assert (await asyncio.wait_for(waiting, 30))["candles"][0]["close"] == 102

    reading(tmp_path, test)


def test_a_stream_ends_when_the_server_ends(tmp_path: Path) -> None:
    async def test(
        live: LiveCandles, notifier: ChangeNotifier, events: AsyncIterator[bytes]
    ) -> None:
        await next_event(events, "status")
        notifier.stop()
        assert [event async for event in events] == []

    reading(tmp_path, test)


def test_a_client_that_reconnects_gets_what_has_changed_since_its_last_event(
    tmp_path: Path,
) -> None:
    """Without a snapshot; an id of another server process is answered with one."""

    async def run() -> None:
        settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
        live = LiveCandles("replay", (LIVE_TOPIC,))
        notifier = ChangeNotifier()
        page = Page(settings, live, GoldReader(settings), lambda: START)
        move(live, 1)
        opened = stream(page, notifier, "AAPL")
        await anext(opened)
        first = await anext(opened)
        last_id = re.findall(rb"^id: (.+)$", first, re.MULTILINE)[0].decode()
        live.apply(LIVE_TOPIC, [record_of(minute=2), record_of(minute=1)])

        resumed = stream(page, notifier, "AAPL", last_event_id=last_id)
        assert await anext(resumed) == b"retry: 2000\n\n"
        update = await anext(resumed)
        assert b"event: candles\n" in update
        candles = json.loads(update.split(b"data: ", 1)[1])["candles"]
        assert [found["start"] for found in candles] == [START + MINUTE, START + 2 * MINUTE]

        for foreign in ("0badcafe-1", "", f"{notifier.server_id}-x"):
            fresh = stream(page, notifier, "AAPL", last_event_id=foreign)
            await anext(fresh)
            assert b"event: snapshot\n" in await anext(fresh)

    asyncio.run(run())


def record_of(minute: int) -> TopicRecord:
    return TopicRecord(encode(partial(minute=minute, close=110, last_offset=9)), START)
