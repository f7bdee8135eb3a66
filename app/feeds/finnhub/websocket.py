"""Finnhub's WebSocket: connect, subscribe and receive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from http import HTTPStatus
from typing import get_args
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
from app.settings import Feed

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A larger message ends the connection; one above `frames.MAX_FRAME_BYTES` is only rejected."""
OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
FEEDS = get_args(Feed)
FEED_HEADER = "X-Tickhouse-Feed"
"""A header by which the simulator marks its trades as simulated; Finnhub does not send it."""


class FinnhubSocket:
    """One open connection to Finnhub (`app.feeds.vendor.FeedSocket`).

    :ivar feed: the feed that the server reports, if it reports one.
    :ivar date_ms: the server's time at the handshake in UNIX ms (whole seconds), if it reported
        one.
    """

    def __init__(self, socket: ClientConnection, keys: Sequence[str]) -> None:
        self._socket = socket
        self._keys = keys
        headers = socket.response.headers if socket.response else Headers()
        feed = _header(headers, FEED_HEADER)
        # The name of a feed is no secret, even if a key of the simulator is the same word.
        self.feed = feed if feed in FEEDS else feed and Redactor(keys).text(feed)
        self.date_ms = _date_ms(headers)

    async def subscribe(self, symbols: Iterable[str]) -> None:
        """Request the trades of `symbols`. The server rejects a symbol with an error frame."""
        await self._send("subscribe", symbols)

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Stop receiving trades of `symbols`."""
        await self._send("unsubscribe", symbols)

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield each message until the connection ends; then raise `Unavailable`.

        API keys that the server sends back are masked here, because rejected frames are stored
        unchanged.
        """
        masked = Redactor(self._keys, SHORTEST_KEY).raw
        try:
            while True:
                yield masked(await self._socket.recv(decode=False))
        except ConnectionClosed as error:
            raise self._ended(error) from None

    def abort(self) -> None:
        """Close the connection at once; a dead server would not answer a closing handshake."""
        self._socket.transport.abort()

    async def close(self) -> None:
        """Close the connection with a closing handshake."""
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
    """Return a header's value. Repeated headers are joined to a list, as HTTP defines it."""
    return ", ".join(headers.get_all(name)) or None


class _ConnectHere(connect):
    """A connection that does not follow redirects.

    Another host must not receive the key, nor be taken for the feed.
    """

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def open_socket(url: str, token: str, others: Iterable[str] = ()) -> FinnhubSocket:
    """Connect to `url` with `token` in the query, as Finnhub requires.

    Redirects are not followed. A proxy from the environment is used for wss:// only, where it sees
    nothing but the server's host, and never for a loopback address. No error text contains the
    token.

    :param others: further keys that must not appear in any text.
    :raises BadKeyError: the server rejects the key; a retry does not help.
    :raises Unavailable: the connection failed for another reason.
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
    except (InvalidProxy, ImportError):  # a library for SOCKS is not installed
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
    """Return the error for a handshake that did not open a WebSocket."""
    status = response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return BadKeyError(
            f"{urlsplit(url).hostname} rejects the API key (HTTP {status}). Correct "
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
