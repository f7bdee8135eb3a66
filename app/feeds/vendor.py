"""The protocol that a vendor's package implements, and the types that its parsers return.

`app.feeds.finnhub` is one implementation; `docs/feeds.md` describes what another one needs. Neither
this module nor the packages that use it depend on a vendor's wire format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from decimal import Decimal
from random import Random
from typing import Any, Literal, NamedTuple, Protocol

from app.contracts import FeedName, Quote, Rejection, Trade
from app.errors import TickhouseError
from app.feeds.clock import Clock
from app.feeds.http_headers import RetryAfter

OnDate = Callable[[int, int, int], None]
"""Receives a time that the vendor's server reported, when it was requested, and when it arrived.

All three are UNIX ms, the last two by the producer's clock.
"""

Retry = Literal["no", "soon", "later"]


class BadKeyError(TickhouseError):
    """The vendor does not accept the API key; a retry does not help."""


class Unavailable(Exception):
    """An attempt to connect failed, or an open connection ended; the next attempt may succeed.

    :ivar status: the HTTP status of the handshake, if there was one.
    :ivar retry_after: when the server asks to be tried again.
    """

    def __init__(
        self, reason: str, status: int | None = None, retry_after: RetryAfter | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after or RetryAfter()


class RequestError(Exception):
    """A REST request got no usable response.

    :ivar retry: whether a retry can help; `later` means after the rate limit's window.
    :ivar status: the HTTP status, if there was one.
    :ivar retry_after: when the server asks to be tried again, regardless of `retry`.
    """

    def __init__(
        self,
        reason: str,
        retry: Retry,
        status: int | None = None,
        retry_after: RetryAfter | None = None,
    ) -> None:
        super().__init__(reason)
        self.retry = retry
        self.status = status
        self.retry_after = retry_after or RetryAfter()


class KeyRejected(RequestError):
    """The vendor rejects the API key of the request, or every key has been rejected."""


class ParsedTrade(NamedTuple):
    """A valid trade of a frame; its index in the frame is `trade.i`.

    :ivar identity: what identifies the trade, apart from its repeat index.
    """

    symbol: str
    trade: Trade
    identity: tuple[str, int, Decimal, Decimal, tuple[str, ...]]


class TradesFrame(NamedTuple):
    """A frame of trades.

    :ivar trades: the valid trades, in the order of the frame.
    :ivar rejections: why the other trades were rejected, by reason.
    :ivar size: the number of trades in the frame, rejected ones included.
    """

    trades: list[ParsedTrade]
    rejections: list[Rejection]
    size: int


class HeartbeatFrame(NamedTuple):
    """The server signals that it is alive."""


class ErrorFrame(NamedTuple):
    """The server reports an error, without naming a symbol."""

    message: str


class IgnoredFrame(NamedTuple):
    """A frame of a type that the feed does not use."""

    type: str


class RejectedFrame(NamedTuple):
    """A frame that cannot be parsed at all."""

    rejection: Rejection


Frame = TradesFrame | HeartbeatFrame | ErrorFrame | IgnoredFrame | RejectedFrame

ParseFrame = Callable[[bytes], Frame]


class ParseQuote(Protocol):
    """Converts the JSON of a response to a quote message."""

    def __call__(
        self, payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
    ) -> Quote | Rejection | None:
        """Return the quote, why it was rejected, or None if the vendor does not know `symbol`."""


class Parser(Protocol):
    """What is needed to process a vendor's data, live or from a recording. It never raises."""

    def parse_frame(self, raw: bytes) -> Frame:
        """Parse one message of the vendor's streaming connection."""

    def parse_quote(
        self, payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
    ) -> Quote | Rejection | None:
        """Parse the JSON of a quote (`ParseQuote`)."""


class FeedSocket(Protocol):
    """One open streaming connection.

    :ivar feed: the feed that the server reports (`simulated`), if it reports one.
    :ivar date_ms: the server's time at the handshake in UNIX ms (whole seconds), if it reported
        one.
    """

    @property
    def feed(self) -> str | None: ...

    @property
    def date_ms(self) -> int | None: ...

    async def subscribe(self, symbols: Iterable[str]) -> None:
        """Request the trades of `symbols`; raises `Unavailable` if the connection has ended."""

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Stop receiving trades of `symbols`; raises `Unavailable` if the connection has ended."""

    def frames(self) -> AsyncIterator[bytes]:
        """Yield each message as received; raises `Unavailable` when the connection ends."""

    def abort(self) -> None:
        """Close the connection at once, without a closing handshake."""

    async def close(self) -> None:
        """Close the connection with a closing handshake."""


class QuoteApi(Protocol):
    """Requests quotes within the vendor's rate limits, and retries where that helps."""

    def __bool__(self) -> bool:
        """Return whether there is an API key that the vendor accepts."""

    async def quote(self, symbol: str) -> Any:
        """Return the JSON of a quote of `symbol`; raises `RequestError`."""

    async def calendar_disagreement(self) -> str | None:
        """Return how the vendor's market status contradicts the calendar; None if it does not.

        :raises RequestError: there is no usable response.
        """


class Vendor(Parser, Protocol):
    """A market data vendor: its connections, its quotes and its parsers.

    :ivar connections: how many streaming connections the vendor allows, one per API key.
    """

    @property
    def connections(self) -> int: ...

    async def connect(self, number: int) -> FeedSocket:
        """Open connection `number`, counted from 1. No error text contains an API key.

        :raises BadKeyError: the vendor rejects the API key.
        :raises Unavailable: the attempt failed.
        """

    def quotes(self, clock: Clock, rng: Random, on_date: OnDate) -> QuoteApi:
        """Return an interface to the vendor's quotes; `on_date` receives each response's date."""
