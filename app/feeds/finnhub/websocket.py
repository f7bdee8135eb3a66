"""The WebSocket: connect, subscribe, listen, and come back after every end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from http import HTTPStatus
from random import Random
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
from app.feeds.finnhub.http_headers import LATER_BY_UP_TO, RetryAfter, date_ms_of
from app.hosts import origin_of, takes_proxy
from app.redaction import SHORTEST_KEY, Redactor

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Above this the connection is given up; above `finnhub_frames.MAX_FRAME_BYTES` only the frame."""
OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
FEED_HEADER = "X-Tickhouse-Feed"
"""The simulator says with it that its trades are simulated; Finnhub does not send it."""

log = logging.getLogger(__name__)


class BadKeyError(TickhouseError):
    """Finnhub does not accept the API key."""


class Unavailable(Exception):
    """This attempt to connect failed; the next may succeed.

    :ivar status: what the handshake was answered with, if it was.
    :ivar retry_after: when the server says it may be asked again.
    """

    def __init__(
        self, reason: str, status: int | None = None, retry_after: RetryAfter | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after or RetryAfter()


class Backoff:
    """How long to wait before each attempt: at once, then ever longer, with jitter.

    At most 60 s; the server's own trouble (5xx) begins at 5 s and 429 at 60 s, with a limit of
    five minutes. A server that names a time itself is not asked before, and soon after.
    """

    CAP_S = 60.0
    BUSY_CAP_S = 300.0

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._attempts = 0

    def next_s(self, status: int | None = None, asked_ms: int | None = None) -> float:
        """Seconds to wait now.

        :param status: what the handshake was answered with, if it was.
        :param asked_ms: how long the server asks to wait, if it does; its status then says no more.
        """
        attempt, self._attempts = self._attempts, self._attempts + 1
        if asked_ms is None:
            return self._usual_s(attempt, status)
        asked_s = asked_ms / 1000 * self._rng.uniform(1.0, LATER_BY_UP_TO)
        return max(asked_s, self._usual_s(attempt, None))

    def _usual_s(self, attempt: int, status: int | None) -> float:
        base_s, cap_s = 1.0, self.CAP_S
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            base_s, cap_s = 60.0, self.BUSY_CAP_S
        elif status is not None and status >= 500:
            base_s, cap_s = 5.0, self.BUSY_CAP_S
        elif attempt == 0:
            return 0.0
        longest_s = min(cap_s, base_s * 2.0 ** min(max(attempt - 1, 0), 20))
        return longest_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The connection proved itself: the next end is a new one."""
        self._attempts = 0


class FeedSocket:
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
        await self._tell("subscribe", symbols)

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Ask for no more trades of `symbols`."""
        await self._tell("unsubscribe", symbols)

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

    async def _tell(self, kind: str, symbols: Iterable[str]) -> None:
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


async def open_socket(url: str, token: str, others: Iterable[str] = ()) -> FeedSocket:
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
        raise _refused(error.response, url, Redactor(keys)) from None
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
    return FeedSocket(socket, keys)


def _refused(response: Response, url: str, redactor: Redactor) -> BadKeyError | Unavailable:
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
