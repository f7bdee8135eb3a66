"""`tickhouse simulate`: WebSocket and REST on one port, as Finnhub serves them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from random import Random
from urllib.parse import parse_qs

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from app.errors import TickhouseError
from app.feeds.simulator.clock import Clock, RealClock
from app.feeds.simulator.connection import Connection
from app.feeds.simulator.delivery import DeliveryLog
from app.feeds.simulator.exchange import Exchange
from app.feeds.simulator.rest import CALLS_PER_MINUTE, Answer, RestApi
from app.feeds.websocket import FEED_HEADER
from app.settings import Settings

STEP_MS = 50
"""The market is played in steps of this length; prints are delivered at their end."""
MOST_BEHIND_MS = 5_000
"""After a longer pause (a laptop's sleep) the market goes on at the present time."""
SYMBOLS_PER_CONNECTION = 50
FAREWELL_S = 0.5
"""How long clients get to answer the closing of their connection."""

log = logging.getLogger(__name__)


class Simulator:
    """Finnhub's manners over an exchange: keys, connections, and the market's heartbeat.

    :param tokens: the API keys it accepts, each for one connection at a time.
    :param calls_per_minute: REST calls of one key; 0 for no limit.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        *,
        tokens: frozenset[str],
        seed: int,
        symbols_per_connection: int = SYMBOLS_PER_CONNECTION,
        calls_per_minute: int = CALLS_PER_MINUTE,
        delivery_log: DeliveryLog | None = None,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._tokens = tokens
        self._seed = seed
        self._symbols_per_connection = symbols_per_connection
        self._api = RestApi(exchange, tokens, calls_per_minute)
        self._note = delivery_log.note if delivery_log else None
        self._connections: dict[str, Connection] = {}
        self._opened = 0

    def respond(self, _socket: ServerConnection, request: Request) -> Response | None:
        """The HTTP answer to a request, or None when a WebSocket is to be opened."""
        if request.path.lstrip("/").startswith("api/"):
            header = request.headers.get_all("X-Finnhub-Token")
            token = header[0] if header else None
            return _response(self._api.answer(request.path, token, self._clock.now_ms()))
        if _token(request) not in self._tokens:
            body = b'{"error":"Invalid API key."}'
            return _response(Answer(HTTPStatus.UNAUTHORIZED, body, {}))
        return None

    async def converse(self, socket: ServerConnection) -> None:
        """Serve one client. A key's second connection ends both, as measured at Finnhub."""
        assert socket.request is not None
        token = _token(socket.request)
        self._opened += 1
        connection = Connection(
            socket,
            self._opened,
            clock=self._clock,
            rng=Random(f"{self._seed}:frames:{self._opened}"),
            most_symbols=self._symbols_per_connection,
            note=self._note,
        )
        other = self._connections.pop(token, None)
        if other is not None:
            for one in (other, connection):
                one.drop("its key opened a second connection")
            return
        self._connections[token] = connection
        try:
            await connection.serve()
        finally:
            if self._connections.get(token) is connection:
                del self._connections[token]

    async def play(self) -> None:
        """Play the market for ever, delivering each step when its time has come."""
        end_ms = self._exchange.at_ms
        while True:
            end_ms += STEP_MS
            now_ms = self._clock.now_ms()
            if now_ms - end_ms > MOST_BEHIND_MS:
                log.warning("%d ms behind, the market goes on at the present time", now_ms - end_ms)
                self._exchange.skip(now_ms)
                end_ms = now_ms + STEP_MS
            await self._clock.sleep(end_ms - now_ms)
            self._step(end_ms)

    def _step(self, end_ms: int) -> None:
        connections = list(self._connections.values())
        symbols = dict.fromkeys(symbol for one in connections for symbol in one.symbols)
        prints = self._exchange.step(end_ms, symbols)
        for connection in connections:
            connection.deliver(prints)


def run(
    settings: Settings,
    host: str,
    port: int,
    rate: float,
    seed: int,
    token: str,
    *,
    symbols_per_connection: int = SYMBOLS_PER_CONNECTION,
    calls_per_minute: int = CALLS_PER_MINUTE,
    delivery_log: Path | None = None,
) -> None:
    """Serve a simulated market until SIGTERM or SIGINT.

    :param settings: as every command takes them; the simulator itself is told all by arguments.
    :param rate: mean of the trades a second over all subscribed symbols.
    :param token: the API keys it accepts, comma separated.
    :raises TickhouseError: it cannot listen at `host` and `port`.
    """
    clock = RealClock()
    with ExitStack() as stack:
        deliveries = stack.enter_context(DeliveryLog(delivery_log)) if delivery_log else None
        simulator = Simulator(
            Exchange(seed, rate, clock.now_ms()),
            clock,
            tokens=frozenset(filter(None, (one.strip() for one in token.split(",")))),
            seed=seed,
            symbols_per_connection=symbols_per_connection,
            calls_per_minute=calls_per_minute,
            delivery_log=deliveries,
        )
        asyncio.run(_serve(simulator, host, port, f"{rate:g} trades a second, seed {seed}"))


async def _serve(simulator: Simulator, host: str, port: int, what: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await _listen(simulator, host, port)
    at = _address(server)
    print(f"SIMULATED market on ws://{at} and http://{at}/api/v1, {what}", flush=True)
    market, stopped = asyncio.create_task(simulator.play()), asyncio.create_task(stop.wait())
    await asyncio.wait((market, stopped), return_when=asyncio.FIRST_COMPLETED)
    market.cancel()
    await _close(server)
    if not market.cancelled():
        market.result()


async def _listen(simulator: Simulator, host: str, port: int) -> Server:
    try:
        return await serve(
            simulator.converse,
            host,
            port,
            process_request=simulator.respond,
            process_response=_labelled,
            compression=None,
            server_header=None,
            ping_interval=None,
            close_timeout=FAREWELL_S,
            max_size=64 * 1024,
        )
    except OSError as error:
        # a name that is not resolved has a negative number, which means nothing to the system
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise TickhouseError(
            f"The simulator cannot listen on {host}:{port}: {reason}. Stop what listens there, or "
            "choose another place with --host and --port (0 takes any free port)."
        ) from None


def _labelled(_socket: ServerConnection, _request: Request, response: Response) -> Response:
    """Say that these trades are simulated, so that no live namespace takes them for real."""
    response.headers[FEED_HEADER] = "simulated"
    return response


async def _close(server: Server) -> None:
    """Say farewell, and end what does not answer."""
    clients = server.connections
    server.close()
    _, silent = await asyncio.wait(
        [asyncio.create_task(server.wait_closed())], timeout=2 * FAREWELL_S
    )
    if silent:
        for client in clients:
            client.transport.abort()
        await asyncio.wait(silent)


def _address(server: Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _token(request: Request) -> str:
    return parse_qs(request.path.partition("?")[2]).get("token", [""])[-1]


def _response(answer: Answer) -> Response:
    headers = Headers(
        {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.headers,
        }
    )
    return Response(answer.status.value, answer.status.phrase, headers, answer.body)
