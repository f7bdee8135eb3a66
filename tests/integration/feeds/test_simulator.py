"""The simulator's process, asked by a WebSocket client and by Finnhub's own REST client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import finnhub
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.feeds.simulator.delivery_log.log import Arrived, Ended, Sent, read_deliveries
from tests.support import TICKHOUSE

PATIENCE_S = 30
TOKEN = "marker-token"
SIMULATE = [TICKHOUSE, "simulate"]


class RunningSimulator:
    """A `tickhouse simulate` process and where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.greeting = process.stdout.readline()
        found = re.search(r"ws://(127\.0\.0\.1:(\d+))", self.greeting)
        assert found, f"no address in {self.greeting!r}"
        self.at, self.port = found[1], int(found[2])

    def websocket_url(self, token: str = TOKEN) -> str:
        return f"ws://{self.at}/?token={token}"

    def client(self, token: str = TOKEN) -> finnhub.Client:
        client = finnhub.Client(api_key=token)
        client.API_URL = f"http://{self.at}/api/v1"
        return client

    def log_until(self, text: str) -> str:
        """The log up to the first line with `text`."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if text in line:
                break
        assert text in lines[-1]
        return "".join(lines)


Start = Callable[..., RunningSimulator]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(*options: str) -> RunningSimulator:
            command = [*SIMULATE, "--port", "0", "--token", TOKEN, *options]
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return RunningSimulator(process)

        yield begin


async def subscribe(client: ClientConnection, *symbols: str) -> None:
    for symbol in symbols:
        await client.send(json.dumps({"type": "subscribe", "symbol": symbol}))


async def frames(client: ClientConnection, kind: str = "trade") -> AsyncIterator[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE_S):
        async for raw in client:
            assert isinstance(raw, str)
            frame = json.loads(raw)
            if frame["type"] == kind:
                yield frame


async def trades(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for frame in frames(client):
        found += frame["data"]
        if len(found) >= count:
            break
    return found


async def read_on(client: ClientConnection) -> None:
    while True:
        await client.recv()


def test_it_reports_in_one_connection_where_it_listens(start: Start) -> None:
    running = start("--rate", "50", "--seed", "9")
    assert running.greeting == (
        f"SIMULATED market on ws://{running.at} and http://{running.at}/api/v1, "
        "50 trades a second, seed 9\n"
    )


def test_subscribed_symbols_arrive_and_no_others(start: Start) -> None:
    async def talk(url: str) -> None:
        async with connect(url) as client:
            await subscribe(client, "AAPL", "BINANCE:BTCUSDT", "NOSUCHSYMBOL")
            found = await trades(client, 500)
            assert {trade["s"] for trade in found} == {"AAPL", "BINANCE:BTCUSDT"}
            assert all({"p", "s", "t", "v"} <= trade.keys() for trade in found)

            await client.send('{"type":"unsubscribe","symbol":"AAPL"}')
            await subscribe(client, "MSFT")
            async for frame in frames(client):
                symbols = {trade["s"] for trade in frame["data"]}
                if "MSFT" in symbols:
                    assert "AAPL" not in symbols
                    break

    asyncio.run(talk(start("--rate", "1000").websocket_url()))


def test_a_bad_token_is_401_at_the_handshake(start: Start) -> None:
    async def knock(url: str) -> int:
        with pytest.raises(InvalidStatus) as rejected:
            await connect(url)
        return rejected.value.response.status_code

    running = start()
    assert asyncio.run(knock(running.websocket_url("bad"))) == 401
    assert asyncio.run(knock(f"ws://{running.at}")) == 401


def test_a_second_connection_of_a_key_drops_both_and_a_third_is_welcome(start: Start) -> None:
    async def talk(url: str) -> None:
        async with connect(url) as first, asyncio.timeout(PATIENCE_S):
            await subscribe(first, "AAPL")
            await trades(first, 1)
            async with connect(url) as second:
                for client in (first, second):
                    with pytest.raises(ConnectionClosed):
                        await read_on(client)
        async with connect(url) as third:
            await subscribe(third, "AAPL")
            assert await trades(third, 1)

    asyncio.run(talk(start().websocket_url()))


def test_two_keys_have_a_connection_each_and_see_the_same_trades(start: Start) -> None:
    async def talk(running: RunningSimulator) -> None:
        async with (
            connect(running.websocket_url()) as item,
            connect(running.websocket_url("second")) as two,
        ):
            for client in (item, two):
                await subscribe(client, "AAPL")
            await trades(item, 1)
            await trades(two, 1)
            seen = [
                Counter(json.dumps(trade) for trade in await trades(client, 200))
                for client in (item, two)
            ]
            assert (seen[0] & seen[1]).total() > 100

    asyncio.run(talk(start("--token", f"{TOKEN},second")))


def test_the_51st_symbol_is_an_error_frame_and_a_freed_position_can_be_taken(start: Start) -> None:
    async def talk(url: str) -> None:
        async with connect(url) as client:
            await subscribe(client, *(f"S{number:02d}" for number in range(51)))
            async for frame in frames(client, "error"):
                assert frame == {"msg": "Subscribing to too many symbols", "type": "error"}
                break
            await client.send('{"type":"unsubscribe","symbol":"S00"}')
            await subscribe(client, "AAPL")
            seen: set[str] = set()
            async for frame in frames(client):
                seen |= {trade["s"] for trade in frame["data"]}
                if "AAPL" in seen:
                    break
            assert "S50" not in seen

    asyncio.run(talk(start("--rate", "2000").websocket_url()))


def test_finnhubs_own_client_reads_quotes(start: Start) -> None:
    with start().client() as client:
        quote = client.quote("AAPL")
        assert list(quote) == ["c", "d", "dp", "h", "l", "o", "pc", "t"]
        assert quote["l"] <= quote["c"] <= quote["h"]
        unknown = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
        assert client.quote("NOSUCHSYMBOL") == unknown
        assert client.market_status(exchange="US")["isOpen"] is True


def test_a_quote_agrees_with_the_trades_received(start: Start) -> None:
    async def talk(running: RunningSimulator) -> None:
        async with connect(running.websocket_url()) as client:
            await subscribe(client, "AAPL")
            found = await trades(client, 1_000)
            quote = await asyncio.to_thread(running.client().quote, "AAPL")
            counted = [trade for trade in found if "12" not in (trade.get("c") or [])]
            assert quote["h"] >= max(trade["p"] for trade in counted)
            assert quote["l"] <= min(trade["p"] for trade in counted)
            assert abs(quote["t"] - found[-1]["t"] / 1000) < 60

    asyncio.run(talk(start("--rate", "1000")))


def test_finnhubs_own_client_meets_401_and_429(start: Start) -> None:
    running = start("--calls-per-minute", "3")
    with pytest.raises(finnhub.FinnhubAPIException) as rejected, running.client("bad") as client:
        client.quote("AAPL")
    assert rejected.value.status_code == 401
    with running.client() as client:
        for _ in range(3):
            client.quote("AAPL")
        with pytest.raises(finnhub.FinnhubAPIException) as limited:
            client.quote("AAPL")
    assert limited.value.status_code == 429
    assert limited.value.message == (
        "API limit reached. Please try again later. Remaining Limit: 0"
    )


def test_a_free_key_has_60_calls_a_minute_unless_reported_otherwise(start: Start) -> None:
    with start().client() as client:
        client.quote("AAPL")
        response = client._session.get(f"{client.API_URL}/quote", params={"symbol": "AAPL"})
    assert response.headers["X-Ratelimit-Limit"] == "60"
    assert response.headers["X-Ratelimit-Remaining"] == "58"


def test_malformed_messages_are_logged_and_ignored(start: Start) -> None:
    async def talk(url: str) -> None:
        async with connect(url) as client:
            for nonsense in ("{", "null", '{"type":"subscribe"}', b"\xff\x00", "[" * 60_000):
                await client.send(nonsense)
            await subscribe(client, "AAPL")
            assert await trades(client, 1)

    running = start()
    asyncio.run(talk(running.websocket_url()))
    running.process.terminate()
    assert running.process.stderr is not None
    assert running.process.stderr.read().count("ignored") == 5


def test_a_client_that_does_not_read_is_dropped(start: Start) -> None:
    running = start("--rate", "30000")
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        silent.connect(("127.0.0.1", running.port))
        silent.sendall(
            f"GET /?token={TOKEN} HTTP/1.1\r\nHost: {running.at}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        message = b'{"type":"subscribe","symbol":"SPY"}'
        silent.sendall(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message)
        assert "connection 1 is dropped" in running.log_until("frames behind")


def test_a_taken_port_is_a_sentence(start: Start, tmp_path: Path) -> None:
    port = str(start().port)
    second = subprocess.run(
        [*SIMULATE, "--port", port], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr == (
        f"error: The simulator cannot listen on 127.0.0.1:{port}: Address already in use. Stop "
        "what listens there, or choose another address with --host and --port (0 takes any free "
        "port).\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0(start: Start, number: signal.Signals) -> None:
    async def talk(running: RunningSimulator) -> None:
        async with connect(running.websocket_url()) as client:
            await subscribe(client, "AAPL")
            await trades(client, 1)
            running.process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                await read_on(client)

    running = start()
    asyncio.run(talk(running))
    out, err = running.process.communicate(timeout=PATIENCE_S)
    assert (running.process.returncode, out) == (0, "")
    assert TOKEN not in err


def test_the_delivery_log_reports_what_was_sent_and_what_arrived(
    start: Start, tmp_path: Path
) -> None:
    received: list[str] = []

    async def talk(url: str) -> None:
        async with connect(url) as client, asyncio.timeout(PATIENCE_S):
            await subscribe(client, "AAPL", "SPY")
            while len(received) < 50:
                frame = await client.recv()
                assert isinstance(frame, str)
                received.append(frame)

    path = tmp_path / "deliveries.jsonl"
    running = start("--delivery-log", str(path))
    asyncio.run(talk(running.websocket_url()))
    running.process.terminate()
    running.process.wait(PATIENCE_S)
    deliveries = read_deliveries(path)
    sent = [delivery.raw for delivery in deliveries if isinstance(delivery, Sent)]
    confirmed = max(delivery.frame for delivery in deliveries if isinstance(delivery, Arrived))
    assert sent[: len(received)] == received
    assert 10 < confirmed <= len(sent)
    assert isinstance(deliveries[-1], Ended)


def test_a_recording_is_played_with_the_faults_of_the_command_connection(
    start: Start, tmp_path: Path
) -> None:
    async def talk(url: str) -> list[dict[str, Any]]:
        async with connect(url) as client:
            await subscribe(client, "AAPL")
            return await trades(client, 30)

    path = tmp_path / "trades.csv"
    rows = [f"AAPL,{1_385_000_000_000 + 20 * number},{number + 1},100" for number in range(100)]
    path.write_text("symbol,t,p,v\n" + "\n".join(rows))
    running = start("--play", str(path), "--fault", "repeat:at=0,for=60")
    assert "trades of trades.csv: AAPL, faults to come: 1" in running.greeting
    found = Counter(trade["p"] for trade in asyncio.run(talk(running.websocket_url())))
    assert sum(count == 3 for count in found.values()) > 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--fault", "stal:at=3"], "'stal:at=3' is not a fault: Invalid value 'stal'"),
        (["--script", "nowhere.toml"], "The script nowhere.toml cannot be read: No such file"),
    ],
)
def test_a_fault_that_is_none_is_a_sentence(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    done = subprocess.run(
        [*SIMULATE, *options], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sentence}")


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    command = [*SIMULATE, "--port", "0", "--delivery-log", str(tmp_path / "no" / "where")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --delivery-log {tmp_path}/no/where: the folder {tmp_path}/no does not exist. "
        "Make it first.\n"
    )
