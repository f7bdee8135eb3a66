"""The events of one client: a snapshot, then the newest state of changed candles."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.contracts import LIVE_TOPIC, encode
from app.dashboard.broadcast import MAX_UPDATES, Broadcaster
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.store import CandleStore
from app.dashboard.stream import stream
from app.settings import Settings
from tests.candle_maker import MINUTE, START, partial

Events = AsyncGenerator[bytes]


def reading(
    tmp_path: Path,
    test: Callable[[LiveCandles, Broadcaster, Events], Coroutine[Any, Any, None]],
) -> None:
    """Run `test` with live candles that hold one candle, and a stream of its symbol."""

    async def run() -> None:
        settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
        live = LiveCandles("replay", (LIVE_TOPIC,))
        broadcaster = Broadcaster(Page(settings, live, GoldReader(settings), lambda: START))
        live.on_change(broadcaster.notify)
        move(live, 1)
        await test(live, broadcaster, stream(broadcaster, "AAPL"))

    asyncio.run(run())


def move(live: LiveCandles, offset: int) -> None:
    record = partial(last_offset=offset, close=100 + offset)
    live.apply(LIVE_TOPIC, [TopicRecord(encode(record), START)])


async def next_event(events: Events, name: str) -> Any:
    async for piece in events:
        for event in piece.split(b"\n\n"):
            if f"event: {name}\n".encode() in event:
                return json.loads(event.split(b"data: ", 1)[1])
    raise AssertionError(f"the stream ended without {name}")


def test_a_reader_gets_a_snapshot_then_summary_and_status(tmp_path: Path) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        assert await anext(events) == b"retry: 2000\n\n"
        snapshot = await next_event(events, "snapshot")
        assert (snapshot["candles"][0]["close"], snapshot["has_older"]) == (101, False)
        assert (await next_event(events, "summary"))["symbols"][0]["symbol"] == "AAPL"
        assert (await next_event(events, "status"))["feed"] == "replay"

    reading(tmp_path, test)


def test_a_slow_reader_gets_the_newest_state_and_no_backlog(tmp_path: Path) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
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
    monkeypatch.setattr("app.dashboard.broadcast.STATUS_S", 3_600.0)  # nothing else wakes it

    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        await next_event(events, "status")
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(next_event(events, "candles"))
        loop.call_later(0.02, move, live, 2)  # the stream sleeps its 0.2 s
        assert (await asyncio.wait_for(waiting, 30))["candles"][0]["close"] == 102

    reading(tmp_path, test)


def test_a_stream_ends_when_the_server_ends(tmp_path: Path) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        await next_event(events, "status")
        broadcaster.stop()
        assert [event async for event in events] == []
        opened_late = [event async for event in stream(broadcaster, "AAPL")]
        assert b"event: snapshot" in opened_late[-1]

    reading(tmp_path, test)


def test_a_client_that_reconnects_gets_what_has_changed_since_its_last_event(
    tmp_path: Path,
) -> None:
    """Without a snapshot; an id of another server process is answered with one."""

    async def run() -> None:
        settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
        live = LiveCandles("replay", (LIVE_TOPIC,))
        broadcaster = Broadcaster(Page(settings, live, GoldReader(settings), lambda: START))
        move(live, 1)
        opened = stream(broadcaster, "AAPL")
        await anext(opened)
        first = await anext(opened)
        last_id = re.findall(rb"^id: (.+)$", first, re.MULTILINE)[0].decode()
        live.apply(LIVE_TOPIC, [record_of(minute=2), record_of(minute=1)])

        resumed = stream(broadcaster, "AAPL", last_event_id=last_id)
        assert await anext(resumed) == b"retry: 2000\n\n"
        update = await anext(resumed)
        assert b"event: candles\n" in update
        candles = json.loads(update.split(b"data: ", 1)[1])["candles"]
        assert [found["start"] for found in candles] == [START + MINUTE, START + 2 * MINUTE]

        for foreign in ("0badcafe-1", "", f"{broadcaster.server_id}-x"):
            fresh = stream(broadcaster, "AAPL", last_event_id=foreign)
            await anext(fresh)
            assert b"event: snapshot\n" in await anext(fresh)

    asyncio.run(run())


def test_a_client_whose_changes_are_no_longer_held_gets_a_snapshot(tmp_path: Path) -> None:
    """Without one a hole would stay: also in a stream that is read too slowly."""

    async def run() -> None:
        settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
        live = LiveCandles("replay", (LIVE_TOPIC,), {"1m": CandleStore(capacity=2)})
        broadcaster = Broadcaster(Page(settings, live, GoldReader(settings), lambda: START))
        live.on_change(broadcaster.notify)

        def resume(version: int) -> Events:
            return stream(broadcaster, "AAPL", last_event_id=f"{broadcaster.server_id}-{version}")

        for minute in range(4):  # versions 1 to 4, of which 3 and 4 are held
            live.apply(LIVE_TOPIC, [record_of(minute)])
        update = await next_event(slow := resume(2), "candles")
        assert [found["start"] for found in update["candles"]] == minutes(2, 3)
        for lost in (1, 5):  # 5 was never sent
            snapshot = await next_event(resume(lost), "snapshot")
            assert [found["start"] for found in snapshot["candles"]] == minutes(2, 3)

        for minute in range(4, 7):
            live.apply(LIVE_TOPIC, [record_of(minute)])
        snapshot = await next_event(slow, "snapshot")
        assert [found["start"] for found in snapshot["candles"]] == minutes(5, 6)

    asyncio.run(asyncio.wait_for(run(), 60))


def minutes(*numbers: int) -> list[int]:
    return [START + number * MINUTE for number in numbers]


def test_a_change_is_read_and_encoded_once_for_all_who_watch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.dashboard.broadcast.STATUS_S", 3_600.0)  # one heartbeat in the test
    calls: Counter[str] = Counter()
    for name in ("changes", "summary", "status"):
        monkeypatch.setattr(Page, name, counted(getattr(Page, name), calls))

    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        streams = [events, *(stream(broadcaster, "AAPL") for _ in range(9))]
        for each in streams:
            await next_event(each, "status")
        move(live, 2)
        updates = [await next_event(each, "candles") for each in streams]
        assert [update["candles"][0]["close"] for update in updates] == [102] * len(streams)

    reading(tmp_path, test)
    assert calls == {"changes": 1, "summary": 1, "status": 1}


def counted(method: Callable[..., Any], calls: Counter[str]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        calls[method.__name__] += 1
        return method(*args)

    return call


def test_a_reader_that_missed_updates_gets_what_the_others_have_and_it_lacks(
    tmp_path: Path,
) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        slow = stream(broadcaster, "AAPL")
        for each in (events, slow):
            await next_event(each, "status")
        for minute in (1, 2):
            live.apply(LIVE_TOPIC, [record_of(minute)])
            assert len((await next_event(events, "candles"))["candles"]) == 1
        starts = [found["start"] for found in (await next_event(slow, "candles"))["candles"]]
        assert starts == [START + MINUTE, START + 2 * MINUTE]

    reading(tmp_path, test)


def test_an_error_ends_the_streams_so_that_browsers_connect_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        await next_event(events, "status")
        with monkeypatch.context() as broken:
            broken.setattr(live, "series_version", lambda *_: 1 / 0)
            move(live, 2)
            assert [event async for event in events] == []

    reading(tmp_path, test)
    assert ["ZeroDivisionError" in record.exc_text for record in caplog.records] == [True]


def test_after_an_error_new_streams_work_though_a_slow_one_is_still_open(tmp_path: Path) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        slow = stream(broadcaster, "AAPL")
        for each in (events, slow):
            await next_event(each, "status")
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(live, "series_version", lambda *_: 1 / 0)
            move(live, 2)
            assert [event async for event in events] == []
        new = stream(broadcaster, "AAPL")
        assert (await next_event(new, "snapshot"))["candles"][0]["close"] == 102
        with broadcaster.watch("AAPL", "1m") as replaced:
            assert [event async for event in slow] == []
        with broadcaster.watch("AAPL", "1m") as channel:
            assert channel is replaced
        move(live, 3)
        assert (await next_event(new, "candles"))["candles"][0]["close"] == 103

    reading(tmp_path, test)


def test_clients_that_make_up_versions_do_not_fill_the_memory(tmp_path: Path) -> None:
    async def test(live: LiveCandles, broadcaster: Broadcaster, events: Events) -> None:
        with broadcaster.watch("AAPL", "1m") as channel:
            for version in range(10 * MAX_UPDATES):
                channel.update(version)
            assert len(channel._updates) <= MAX_UPDATES

    reading(tmp_path, test)


def record_of(minute: int) -> TopicRecord:
    return TopicRecord(encode(partial(minute=minute, close=110, last_offset=9)), START)
