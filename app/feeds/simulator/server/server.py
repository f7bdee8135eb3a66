"""A server that behaves like Finnhub's: API keys, handshakes, connections and trades."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from random import Random
from urllib.parse import parse_qs

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from app.feeds.clock import Clock
from app.feeds.finnhub.websocket import FEED_HEADER
from app.feeds.simulator.delivery_log.ledger import AnnotatedLog
from app.feeds.simulator.delivery_log.log import Began, Delivery, HandshakeRejected, Opened
from app.feeds.simulator.faults.kinds import AnyFault, Close, HalfOpen, Refuse, Slow, StallFault
from app.feeds.simulator.faults.market import MarketFaults
from app.feeds.simulator.faults.rest import RestFaults
from app.feeds.simulator.faults.schedule import Script
from app.feeds.simulator.market.venue import Venue
from app.feeds.simulator.rest import (
    CALLS_PER_MINUTE,
    RestResponse,
    SimulatedRestApi,
    http_rejection,
)
from app.feeds.simulator.server.connection import Connection

STEP_MS = 50
"""The market is played in steps of this length; prints are delivered at the end of a step."""
MAX_BEHIND_MS = 5_000
"""After a longer pause, such as a suspended laptop, the market continues at the present."""
SYMBOLS_PER_CONNECTION = 50
PREVIOUS_END_TIMEOUT_S = 0.5
"""How long a key's previous connection may take to end before a new one counts as a second."""

log = logging.getLogger(__name__)


class Simulator:
    """Finnhub's behavior over a market: keys, connections, and playing the market.

    :param tokens: the accepted API keys, each for one connection at a time.
    :param calls_per_minute: REST calls per key; 0 for no limit.
    :param faults: what goes wrong, and when.
    :param on_delivery: receives every delivery.
    """

    def __init__(
        self,
        venue: Venue,
        clock: Clock,
        *,
        tokens: Collection[str],
        seed: int,
        symbols_per_connection: int = SYMBOLS_PER_CONNECTION,
        calls_per_minute: int = CALLS_PER_MINUTE,
        faults: Iterable[AnyFault] = (),
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._keys = {token: number for number, token in enumerate(tokens, 1)}
        self._seed = seed
        self._symbols_per_connection = symbols_per_connection
        self._script = Script(faults, venue.at_ms)
        self._api = RestFaults(
            SimulatedRestApi(venue, tokens, calls_per_minute),
            self._script,
            clock,
            Random(f"{seed}:rest"),
        )
        self._market = MarketFaults(venue, self._script, Random(f"{seed}:late"))
        self._annotated = AnnotatedLog(on_delivery) if on_delivery else None
        self._on_delivery = self._annotated.record if self._annotated else None
        self._connections: dict[str, Connection] = {}
        self._opened = 0
        self._endings: set[asyncio.Task[None]] = set()

    async def respond(self, socket: ServerConnection, request: Request) -> Response | None:
        """Return the HTTP response to a request, or None to open a WebSocket."""
        if request.path.lstrip("/").startswith("api/"):
            return await self._call(socket, request)
        slow = self._script.active(Slow, self._clock.now_ms())
        if slow:
            await self._clock.sleep(slow.by_s * 1000)
        refuse = self._script.active(Refuse, self._clock.now_ms())
        if refuse:
            return self._reject(http_rejection(refuse.status, refuse.after_s))
        if _token(request) not in self._keys:
            return self._reject(http_rejection(HTTPStatus.UNAUTHORIZED))
        return None

    async def _call(self, socket: ServerConnection, request: Request) -> Response:
        header = request.headers.get_all("X-Finnhub-Token")
        answer = await self._api.answer(request.path, header[0] if header else None)
        if answer is None:
            socket.transport.abort()
            answer = http_rejection(HTTPStatus.BAD_GATEWAY)  # not sent: the connection is closed
        return _response(answer)

    def label(self, _: ServerConnection, __: Request, response: Response) -> Response:
        """Mark a response as simulated, and date it by the simulator's clock.

        Live namespaces then reject its trades. The library would use the machine's clock.
        """
        response.headers.pop("Date", None)
        response.headers["Date"] = formatdate(self._clock.now_ms() / 1000, usegmt=True)
        response.headers[FEED_HEADER] = "simulated"
        return response

    async def serve_client(self, socket: ServerConnection) -> None:
        """Serve one client. A second connection with a key ends both, as observed at Finnhub."""
        assert socket.request is not None
        token = _token(socket.request)
        self._opened += 1
        number = self._opened
        connection = Connection(
            socket,
            number,
            clock=self._clock,
            rng=Random(f"{self._seed}:frames:{number}"),
            script=self._script,
            max_symbols=self._symbols_per_connection,
            on_delivery=self._on_delivery,
        )
        if self._on_delivery:
            self._on_delivery(Opened(self._clock.now_ms(), number, self._keys[token]))
        other = self._connections.get(token)
        if other and not await self._has_ended(other):
            for item in (other, connection):
                item.drop("its key opened a second connection")
            return
        self._connections[token] = connection
        await connection.serve()

    async def play(self) -> None:
        """Play the market, and deliver each step when it is due."""
        end_ms = self._venue.at_ms
        while True:
            end_ms += STEP_MS
            now_ms = self._clock.now_ms()
            if now_ms - end_ms > MAX_BEHIND_MS:
                log.warning("%d ms behind, the market goes on at the present time", now_ms - end_ms)
                self._venue.skip(now_ms)
                end_ms = now_ms + STEP_MS
            await self._clock.sleep(end_ms - now_ms)
            self._step(end_ms)

    async def end(self) -> None:
        """Close every connection with a handshake, once all frames sent have been read."""
        await asyncio.gather(*(item.end(closing_handshake=True) for item in self._open()))
        if self._annotated:
            counts = self._annotated.counts
            log.info(
                "delivered %d frames; the identity rules take %d genuine trades for repeats and %d "
                "repeated ones for new",
                counts["frames"],
                counts["unseen"],
                counts["doubled"],
            )

    def _open(self) -> list[Connection]:
        return [
            connection for connection in self._connections.values() if not connection.ended.is_set()
        ]

    def _step(self, end_ms: int) -> None:
        connections = self._open()
        symbols = dict.fromkeys(symbol for item in connections for symbol in item.symbols)
        prints = self._market.step(end_ms, symbols)
        for fault in self._script.begun(end_ms):
            log.warning("fault: %s", fault)
            if self._on_delivery:
                self._on_delivery(Began(self._clock.now_ms(), fault))
            prints += self._market.begin(fault, symbols)
            for connection in connections:
                self._apply_fault(connection, fault)
        for connection in connections:
            connection.deliver(prints)

    def _apply_fault(self, connection: Connection, fault: AnyFault) -> None:
        match fault:
            case Close(closing_handshake=closing_handshake):
                self._later(connection.end(closing_handshake))
            case Refuse() | Slow():
                self._later(connection.end(closing_handshake=False))
            case HalfOpen():
                self._later(connection.go_half_open())
            case StallFault(length_s=length_s, pings=pings):
                connection.stall(self._clock.now_ms() + length_s * 1000, pings)
            case _:
                connection.begin(fault)

    def _later(self, ending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _has_ended(self, connection: Connection) -> bool:
        """Return whether it has ended or ends shortly; an end is noticed with a delay."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PREVIOUS_END_TIMEOUT_S):
                await connection.ended.wait()
        return connection.ended.is_set()

    def _reject(self, answer: RestResponse) -> Response:
        if self._on_delivery:
            self._on_delivery(HandshakeRejected(self._clock.now_ms(), answer.status))
        return _response(answer)


def _token(request: Request) -> str:
    return parse_qs(request.path.partition("?")[2]).get("token", [""])[-1]


def _response(answer: RestResponse) -> Response:
    headers = Headers(
        {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.headers,
        }
    )
    return Response(answer.status.value, answer.status.phrase, headers, answer.body)
