"""The WebSocket: connect, subscribe, listen, and come back after every end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.http11 import Response

from app.errors import TickhouseError
from app.feeds.http_headers import RetryAfter, date_ms_of
from app.feeds.vendor import BadKeyError, Unavailable
from app.hosts import origin_of, takes_proxy
from app.redaction import SHORTEST_KEY, Redactor

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Above this the connection is given up; above `finnhub_frames.MAX_FRAME_BYTES` only the frame."""
OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
FEED_HEADER = "X-Tickhouse-Feed"
"""The simulator says with it that its trades are simulated; Finnhub does not send it."""


class FinnhubSocket:
    """One open connection: iterate over it for its frames.

    :ivar feed: what the server says its trades are, if it says it.
    :ivar date_ms: when the server answered the handshake, in UNIX ms by its own clock and in whole
        seconds; None if it did not say so.
    """

    def __init__(self, socket: ClientConnection, keys: Sequence[str]) -> None:
        self._socket = socket
        self._keys = keys
        headers = socket.response.headers if socket.response else Headers()
        feed = _header(headers, FEED_HEADER)
        self.feed = feed and Redactor(keys).text(feed)
        self.date_ms = _date_ms(headers)

    async def subscribe(self, symbols: Iterable[str]) -> None:
        """Ask for the trades of `symbols`; what is refused comes back as an error frame."""
        await self._send("subscribe", symbols)

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Ask for no more trades of `symbols`."""
        await self._send("unsubscribe", symbols)

    async def frames(self) -> AsyncIterator[bytes]:
        """Each message of the server, until the connection ends; then `Unavailable` is raised.

        A key that the server sends back is masked here: what is refused is kept byte for byte.
        """
        masked = Redactor(self._keys, SHORTEST_KEY).raw
        try:
            while True:
                yield masked(await self._socket.recv(decode=False))
        except ConnectionClosed as error:
            raise self._ended(error) from None

    def abort(self) -> None:
        """End the connection at once, without the farewell a dead server would not answer."""
        self._socket.transport.abort()

    async def close(self) -> None:
        """Say farewell."""
        await self._socket.close()

    async def _send(self, kind: str, symbols: Iterable[str]) -> None:
        try:
            for symbol in symbols:
                text = msgspec.json.encode({"type": kind, "symbol": symbol}).decode()
                await self._socket.send(text)
        except ConnectionClosed as error:
            raise self._ended(error) from None

    def _ended(self, error: ConnectionClosed) -> Unavailable:
        return Unavailable(Redactor(self._keys).text(f"the connection ended: {error}"))


def _date_ms(headers: Headers) -> int | None:
    return date_ms_of(_header(headers, "Date"), _header(headers, "Age"))


def _header(headers: Headers, name: str) -> str | None:
    """A header's value; those of one that is there several times make a list, as in HTTP."""
    return ", ".join(headers.get_all(name)) or None


class _ConnectHere(connect):
    """Follows no redirect: another host must not get the key, nor pass for the feed."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def open_socket(url: str, token: str, others: Iterable[str] = ()) -> FinnhubSocket:
    """Connect to `url` with `token` in the query, as Finnhub wants it.

    No redirect is followed. A proxy of the environment is used for wss:// alone, where it sees the
    server's host and nothing else, and never for an address of this machine.

    :param others: further keys that no text may show.
    :raises BadKeyError: the server refuses the key; trying again is of no use.
    :raises Unavailable: anything else went wrong. No text of either holds the token.
    """
    keys = (token, *others)
    try:
        socket = await _ConnectHere(
            f"{url}{'&' if urlsplit(url).query else '?'}token={quote(token, safe='')}",
            proxy=True if takes_proxy(url) else None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            compression=None,
            user_agent_header="tickhouse",
        )
    except InvalidStatus as error:
        raise _handshake_error(error.response, url, Redactor(keys)) from None
    except InvalidURI:
        raise TickhouseError(
            "FINNHUB_WEBSOCKET_URL is not an address; it reads like wss://ws.finnhub.io."
        ) from None
    except (InvalidProxy, ImportError):  # of a library for SOCKS, which is not installed
        raise TickhouseError(
            "The proxy that the environment names for wss:// cannot be used. Set https_proxy to "
            "http://HOST:PORT of a proxy that knows CONNECT, or no_proxy to "
            f"{urlsplit(url).hostname}."
        ) from None
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
        reason = Redactor(keys).text(f"{type(error).__name__}: {error}")
        raise Unavailable(f"no connection: {reason}") from None
    return FinnhubSocket(socket, keys)


def _handshake_error(response: Response, url: str, redactor: Redactor) -> BadKeyError | Unavailable:
    """What the answer to a handshake means that opens no WebSocket."""
    status = response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return BadKeyError(
            f"{urlsplit(url).hostname} refuses the API key (HTTP {status}). Correct "
            "FINNHUB_API_KEY."
        )
    retry_after = RetryAfter(_header(response.headers, "Retry-After"), _date_ms(response.headers))
    location = _header(response.headers, "Location")
    if 300 <= status < 400 and location is not None:
        there = redactor.text(origin_of(location, url))
        return Unavailable(
            f"the server redirects (HTTP {status}) to {there}, which is not followed; if that is "
            "where the feed is now, set FINNHUB_WEBSOCKET_URL to it",
            status,
            retry_after,
        )
    return Unavailable(f"the server answered with HTTP {status}", status, retry_after)
