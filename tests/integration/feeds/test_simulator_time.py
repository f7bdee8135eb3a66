"""The simulator over minutes and hours, on virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from app.feeds.http_headers import date_ms_of
from app.feeds.simulator.server.server import STEP_MS
from tests.integration.feeds.simulated import START_MS, Received, receive, simulated, subscribe
from tests.virtual_time import run


def test_a_ping_comes_once_a_minute() -> None:
    async def talk() -> list[Received]:
        async with simulated() as simulator, simulator.connect() as client:
            return await receive(client, 200)

    pings = run(talk())
    assert {ping.raw for ping in pings} == {'{"type":"ping"}'}
    assert [ping.at_s for ping in pings] == pytest.approx([60, 120, 180], abs=0.1)


def test_after_a_pause_the_market_goes_on_at_the_present(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pause_ms = 3_600_000

    async def talk() -> list[Received]:
        async with simulated() as simulator, simulator.connect() as client:
            await subscribe(client, ["AAPL"])
            before = await receive(client, 30)
            simulator.clock.move_forward(pause_ms)
            return before + await receive(client, 60)

    with caplog.at_level(logging.WARNING):
        received = run(talk())
    assert "the market goes on at the present time" in caplog.text
    times = [trade["t"] - START_MS for item in received for trade in item.trades]
    gap = [t for t in times if 31_000 < t < 30_000 + pause_ms - STEP_MS]
    assert gap == []
    assert max(times) > 50_000 + pause_ms


def test_a_second_connection_is_not_one_when_the_first_is_about_to_end() -> None:
    async def talk() -> None:
        async with simulated() as simulator, simulator.connect() as first:
            await asyncio.sleep(10)
            asyncio.get_running_loop().call_later(0.3, first.transport.abort)
            async with simulator.connect() as second:
                await subscribe(second, ["AAPL"])
                assert await receive(second, 30)

    run(talk())


def test_five_hundred_symbols_trade_on_one_connection() -> None:
    symbols = [f"S{number:03d}" for number in range(500)]

    async def talk() -> list[Received]:
        async with (
            simulated(rate=5_000, symbols_per_connection=500) as simulator,
            simulator.connect() as client,
        ):
            await subscribe(client, symbols)
            return await receive(client, 10)

    trades = [trade for item in run(talk()) for trade in item.trades]
    assert {trade["s"] for trade in trades} == set(symbols)
    assert 20_000 < len(trades) < 100_000


@pytest.mark.parametrize(("rate", "seconds"), [(1, 300), (20_000, 5)])
def test_one_trade_a_second_and_20_000_go_through_a_connection(rate: int, seconds: int) -> None:
    async def talk() -> list[Received]:
        async with simulated(rate=rate) as simulator, simulator.connect() as client:
            await subscribe(client, ["AAPL", "SPY", "TSLA", "QQQ", "BINANCE:BTCUSDT"])
            return await receive(client, seconds)

    count = sum(len(item.trades) for item in run(talk()))
    assert count / seconds == pytest.approx(rate, rel=0.4), "a session's middle is quieter"


def test_every_answer_is_dated_by_the_simulators_clock() -> None:
    async def talk() -> list[tuple[int | None, int]]:
        dated = []
        async with simulated("refuse:at=20,for=10") as simulator:
            await asyncio.sleep(5.5)
            async with simulator.connect() as client:
                assert client.response is not None
                dated.append((_date_ms(client.response.headers), simulator.clock.now_ms()))
            for path in (
                "api/v1/quote?symbol=AAPL&token=marker-token",
                "api/v1/quote",
                "?token=no",
            ):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"ws://{simulator.at}/{path}", ping_interval=None)
                dated.append((_date_ms(caught.value.response.headers), simulator.clock.now_ms()))
            await asyncio.sleep(20)
            with pytest.raises(InvalidStatus) as caught:
                await simulator.connect()
            dated.append((_date_ms(caught.value.response.headers), simulator.clock.now_ms()))
        return dated

    dated = run(talk())
    assert [date_ms for date_ms, _ in dated] == [now_ms // 1000 * 1000 for _, now_ms in dated]
    assert dated[0][0] == START_MS + 5_000
    assert dated[-1][0] == START_MS + 25_000


def _date_ms(headers: Headers) -> int | None:
    assert len(headers.get_all("Date")) == 1
    return date_ms_of(headers["Date"])
