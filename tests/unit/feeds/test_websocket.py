"""How long to wait before connecting again, and what an attempt that fails says."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import quote

import pytest
from websockets.utils import accept_key

from app.errors import TickhouseError
from app.feeds.websocket import Backoff, Unavailable, open_socket


def test_the_first_try_is_at_once_and_the_others_ever_later_up_to_a_minute() -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s() for _ in range(20)]
    assert waits_s[0] == 0
    assert all(2**n / 2 <= wait_s <= 2**n for n, wait_s in enumerate(waits_s[1:6]))
    assert all(30 <= wait_s <= 60 for wait_s in waits_s[8:])


def test_a_connection_that_proved_itself_is_replaced_at_once() -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s() for _ in range(5)]
    backoff.reset()
    assert backoff.next_s() == 0 < waits_s[-1]


def test_waits_are_jittered() -> None:
    assert len({tuple(_waits(seed)) for seed in range(10)}) == 10


def _waits(seed: int) -> list[float]:
    backoff = Backoff(Random(seed))
    return [backoff.next_s() for _ in range(3)]


@pytest.mark.parametrize(("status", "least_s"), [(429, 30.0), (502, 2.5)])
def test_a_server_in_trouble_is_left_alone_for_longer(status: int, least_s: float) -> None:
    backoff = Backoff(Random(1))
    waits_s = [backoff.next_s(status) for _ in range(20)]
    assert waits_s[0] >= least_s
    assert 150 <= max(waits_s) <= 300


def test_no_connection_is_said_without_the_token() -> None:
    with pytest.raises(Unavailable, match="no connection: ConnectionRefusedError") as caught:
        asyncio.run(open_socket("ws://127.0.0.1:1", "sec/ret"))
    assert "ret" not in str(caught.value)


KEY = "sec/ret-key"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/?token=%s\r\n\r\n"
NO_REDIRECT = b"HTTP/1.1 301 Moved\r\nLocation: no-address?token=%s\r\n\r\n"
TOO_LONG = b"HTTP/1.1 200 %s" + b"." * 20_000 + b"\r\n"
NO_UPGRADE = b"HTTP/1.1 101 %s\r\nUpgrade: %s\r\nConnection: %s\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"%s\r\n\r\n",
        b"HTTP/1.1 502 %s\r\nContent-Length: 9\r\n\r\n%s",
        b"HTTP/1.1 200 %s\r\nX-%s: %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
        REDIRECT,
        NO_REDIRECT,
        TOO_LONG,
        NO_UPGRADE,
    ],
)
def test_whatever_a_server_answers_no_text_or_traceback_holds_the_token(answer: bytes) -> None:
    for form in (KEY, quote(KEY, safe="")):
        error = asyncio.run(_refused(answer.replace(b"%s", form.encode())))
        assert KEY[-7:] not in "".join(traceback.format_exception(error))


async def _refused(answer: bytes) -> BaseException:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((Unavailable, TickhouseError)) as caught:
            await open_socket(f"ws://127.0.0.1:{port}", KEY)
        return caught.value


def test_an_address_that_is_none_gets_a_sentence() -> None:
    with pytest.raises(TickhouseError, match="FINNHUB_WEBSOCKET_URL is not an address") as caught:
        asyncio.run(open_socket("ws://", "secret"))
    assert "secret" not in str(caught.value)


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n%s\r\n"
)
DATE, DATE_MS = b"Date: Thu, 14 Nov 2024 16:01:00 GMT\r\n", 1_731_600_060_000


@pytest.mark.parametrize(
    ("headers", "date_ms"),
    [
        (DATE, DATE_MS),
        (DATE + b"Age: 7\r\n", DATE_MS + 7_000),
        (DATE + DATE, None),
        (b"Date: yesterday\r\n", None),
        (b"", None),
    ],
)
def test_a_connection_says_what_time_its_server_had(headers: bytes, date_ms: int | None) -> None:
    async def connected() -> int | None:
        async with _switching(headers) as url:
            socket = await open_socket(url, KEY)
            socket.abort()
            return socket.date_ms

    assert asyncio.run(connected()) == date_ms


@asynccontextmanager
async def _switching(headers: bytes) -> AsyncIterator[str]:
    """A server that opens every WebSocket with more `headers`; its address."""

    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
        writer.write(SWITCH % (accept_key(key).encode(), headers))

    async with await asyncio.start_server(switch, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
