"""A test server that speaks Finnhub's WebSocket protocol and follows the test's instructions."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WAIT_S = 30


class FinnhubServer:
    """Serves on a free loopback port from a thread of its own.

    :ivar received: what clients sent, in order: ("open", path), ("subscribe", symbol),
        ("close", "").
    :ivar refuse_with: the HTTP status that handshakes are answered with, if any.
    :ivar retry_after: the `Retry-After` header of those responses, if any.
    :ivar redirect_to: host and port that handshakes and REST calls are redirected to, if any.
    :ivar refused_keys: keys that are answered with 401.
    :ivar refused_symbols: symbols whose subscription is answered with an error frame.
    :ivar keys: the keys of the open connections, in the order in which they were opened.
    :ivar rest: answers REST calls: path with query and headers in, status and body out.
    """

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        self.received: queue.Queue[tuple[str, str]] = queue.Queue()
        self.refuse_with: int | None = None
        self.retry_after: str | None = None
        self.redirect_to: str | None = None
        self.rejected_keys: set[str] = set()
        self.rejected_symbols: set[str] = set()
        self.rest: Callable[[str, Headers], tuple[int, bytes]] = lambda *_: (404, b"{}")
        self._headers = headers or {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._sockets: list[ServerConnection] = []
        self._server: Server | None = None

    def __enter__(self) -> FinnhubServer:
        self._thread.start()
        self._server = self._do(self._serve())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    @property
    def keys(self) -> list[str]:
        return [_key(socket.request) for socket in self._sockets if socket.request]

    def settings(self, token: str = "token") -> dict[str, Any]:
        """Return the settings of a producer for this server."""
        return {
            "finnhub_websocket_url": f"ws://{self.address}",
            "finnhub_rest_url": f"http://{self.address}/api/v1",
            "finnhub_api_key": token,
        }

    def wait_for(self, kind: str, times: int = 1) -> list[str]:
        """Wait until clients have sent `kind` this many times more; return what it was about."""
        found: list[str] = []
        while len(found) < times:
            reported, what = self.received.get(timeout=WAIT_S)
            if reported == kind:
                found.append(what)
        return found

    def send(self, frame: bytes | str, key: str | None = None) -> None:
        """Send a text message to every client, or to the one with `key`."""
        text = frame.decode() if isinstance(frame, bytes) else frame
        self._do(self._send(text, key))

    def send_trades(self, *trades: tuple[str, int, float], key: str | None = None) -> None:
        """Send one frame of trades: symbol, t, price."""
        data = [{"c": None, "p": p, "s": s, "t": t, "v": 1} for s, t, p in trades]
        self.send(json.dumps({"data": data, "type": "trade"}), key)

    def wait_a_moment(self, seconds: float = 0.25) -> None:
        """Let a short time pass between two frames of a quiet feed."""
        self._do(asyncio.sleep(seconds))

    def wait_until_read(self) -> None:
        """Wait until every client has read all frames that were sent to it."""
        self._do(self._ping())

    def drop(self, key: str | None = None) -> None:
        """End every connection, or the one with `key`, without a closing handshake."""
        self._loop.call_soon_threadsafe(
            lambda: [socket.transport.abort() for socket in self._with(key)]
        )

    def freeze(self) -> None:
        """Stop reading from all clients, without ending a connection."""
        self._loop.call_soon_threadsafe(
            lambda: [socket.transport.pause_reading() for socket in self._sockets]
        )

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    async def _serve(self) -> Server:
        return await serve(
            self._converse,
            "127.0.0.1",
            0,
            process_request=self._answer,
            process_response=self._label,
            compression=None,
            max_size=None,
            close_timeout=0.5,
        )

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.redirect_to is not None:
            scheme = "http" if request.path.startswith("/api/") else "ws"
            there = f"{scheme}://{self.redirect_to}{request.path}"
            return Response(302, "", Headers({"Location": there, "Content-Length": "0"}))
        if request.path.startswith("/api/"):
            status, body = self.rest(request.path, request.headers)
            return Response(
                status,
                "",
                Headers({"Content-Type": "application/json", "Content-Length": str(len(body))}),
                body,
            )
        self.received.put(("open", _key(request)))
        if self.refuse_with is not None:
            rejection = socket.respond(self.refuse_with, "refused")
            if self.retry_after is not None:
                rejection.headers["Retry-After"] = self.retry_after
            return rejection
        if _key(request) in self.rejected_keys:
            return socket.respond(401, "refused")
        return None

    def _label(self, _: ServerConnection, __: Request, response: Response) -> Response:
        response.headers.update(self._headers)
        return response

    async def _converse(self, socket: ServerConnection) -> None:
        self._sockets.append(socket)
        try:
            async for raw in socket:
                reported = json.loads(raw)
                self.received.put((reported["type"], reported["symbol"]))
                if reported["type"] == "subscribe" and reported["symbol"] in self.rejected_symbols:
                    await socket.send('{"msg":"Subscribing to too many symbols","type":"error"}')
        except ConnectionClosed:
            pass
        finally:
            self._sockets.remove(socket)
            self.received.put(("close", ""))

    async def _ping(self) -> None:
        for socket in self._sockets:
            await (await socket.ping())  # it is answered behind all that came before

    async def _send(self, text: str, key: str | None) -> None:
        for socket in self._with(key):
            with suppress(ConnectionClosed):
                await socket.send(text)

    def _with(self, key: str | None) -> list[ServerConnection]:
        return [s for s in self._sockets if key is None or (s.request and _key(s.request) == key)]


def _key(request: Request) -> str:
    return parse_qs(urlsplit(request.path).query)["token"][0]
