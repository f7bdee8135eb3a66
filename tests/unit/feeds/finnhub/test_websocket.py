"""Connections to Finnhub's WebSocket: errors, redirects, proxies, and keys kept out of texts."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.utils import accept_key

from app.errors import TickhouseError
from app.feeds.finnhub.websocket import FEED_HEADER, FinnhubSocket, open_socket
from app.feeds.vendor import Unavailable
from tests.recording_host import RecordingHost


@pytest.mark.parametrize("status", [302, 429, 503])
def test_a_rejected_handshake_reports_when_to_try_again(status: int) -> None:
    answer = b"HTTP/1.1 %d No\r\nRetry-After: %s\r\n" + DATE + b"\r\n"
    for asked, wait_ms in ((b"7", 7_000), (b"Thu, 14 Nov 2024 16:02:00 GMT", 60_000), (b"?", None)):
        error = asyncio.run(_rejected(answer % (status, asked)))
        assert isinstance(error, Unavailable)
        assert error.retry_after.wait_ms(0) == wait_ms


def test_no_connection_is_reported_without_the_token() -> None:
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
        error = asyncio.run(_rejected(answer.replace(b"%s", form.encode())))
        assert KEY[-7:] not in "".join(traceback.format_exception(error))


async def _rejected(answer: bytes) -> BaseException:
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
def test_a_connection_reports_what_time_its_server_had(headers: bytes, date_ms: int | None) -> None:
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


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["ws://{}/?token=%s", "//{}/", "wss://{}/"])
def test_no_redirect_is_followed_and_a_sentence_reports_where_it_points_to(
    status: int, location: str
) -> None:
    there = f"Location: {location}\r\n\r\n".replace("%s", KEY).encode()
    with RecordingHost("127.0.0.2") as other:
        answer = b"HTTP/1.1 %d Moved\r\n" % status + there.replace(b"{}", other.address.encode())
        error = asyncio.run(_rejected(answer))
        assert other.received() == []
    assert isinstance(error, Unavailable)
    assert error.status == status
    scheme = "wss" if location.startswith("wss") else "ws"
    assert f"redirects (HTTP {status}) to {scheme}://{other.address}" in str(error)
    assert "FINNHUB_WEBSOCKET_URL" in str(error)
    assert KEY not in str(error)


def test_what_is_not_encrypted_goes_through_no_proxy(proxy: RecordingHost) -> None:
    async def connected() -> None:
        async with _switching(b"") as url:
            (await open_socket(url, KEY)).abort()

    asyncio.run(connected())
    assert proxy.received() == []


def test_loopback_is_reached_through_no_proxy(proxy: RecordingHost) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(open_socket("wss://127.0.0.1:1", KEY))
    assert proxy.received() == []


def test_a_proxy_sees_nothing_of_an_encrypted_connection_but_its_host(proxy: RecordingHost) -> None:
    with pytest.raises(Unavailable, match="no connection"):
        asyncio.run(open_socket("wss://feed.example", KEY))
    [request] = proxy.received()
    assert request.startswith(b"CONNECT feed.example:443 HTTP/1.1\r\n")
    assert KEY.encode() not in request
    assert quote(KEY, safe="").encode() not in request


@pytest.mark.parametrize(
    "address", ["socks5://user:pass-word@127.0.0.1:1", "ftp://user:pass-word@127.0.0.1:1", "no:"]
)
def test_a_proxy_that_cannot_be_used_gets_a_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("wss_proxy", address)
    with pytest.raises(TickhouseError, match="https_proxy") as caught:
        asyncio.run(open_socket("wss://feed.example", KEY))
    assert "pass-word" not in "".join(traceback.format_exception(caught.value))


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04X}" for char in text)


@pytest.mark.parametrize("form", [KEY, quote(KEY, safe=""), KEY.replace("/", "\\/"), _escaped(KEY)])
@pytest.mark.parametrize(
    "frame",
    [
        '{"data":[{"c":["%s"],"p":1,"s":"A","t":1,"v":1}],"type":"trade"}',
        '{"data":[{"c":null,"p":1,"s":"%s","t":1,"v":1}],"type":"trade"}',
        '{"msg":"no %s","type":"error"}',
        "no JSON: %s",
    ],
)
def test_a_key_that_is_sent_back_is_masked_however_it_is_escaped(form: str, frame: str) -> None:
    async def first() -> bytes:
        async with serve(_sending(frame.replace("%s", form)), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            socket = await open_socket(f"ws://127.0.0.1:{port}", KEY)
            raw = await anext(socket.frames())
            await socket.close()
            return raw

    assert asyncio.run(first()) == frame.replace("%s", "**********").encode()


def _sending(frame: str) -> Callable[[ServerConnection], Awaitable[None]]:
    async def send(client: ServerConnection) -> None:
        await client.send(frame)
        await client.wait_closed()

    return send


@pytest.mark.parametrize("form", [KEY, quote(KEY, safe=""), _escaped(KEY)])
def test_a_key_in_a_header_is_masked(form: str) -> None:
    async def opened() -> FinnhubSocket:
        async with _switching(f"{FEED_HEADER}: {form}\r\n".encode()) as url:
            socket = await open_socket(url, KEY)
            socket.abort()
            return socket

    assert asyncio.run(opened()).feed == "**********"


def test_the_name_of_a_feed_is_not_masked_even_if_the_key_is_the_same_word() -> None:
    async def opened() -> FinnhubSocket:
        async with _switching(f"{FEED_HEADER}: simulated\r\n".encode()) as url:
            return await open_socket(url, "simulated")

    assert asyncio.run(opened()).feed == "simulated"
