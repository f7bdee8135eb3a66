"""HTTP routes of the page: HTML, JSON and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contracts import Interval
from app.dashboard.access import RequireToken
from app.dashboard.broadcast import Broadcaster
from app.dashboard.document import first_view, with_first_view
from app.dashboard.gold import TABLES, GoldNotBuilt, as_json
from app.dashboard.openapi import INTERVALS, openapi
from app.dashboard.page import Page, installed_version
from app.dashboard.replay import ReplayRemote
from app.dashboard.static_files import StaticFile, StaticFiles
from app.dashboard.stream import stream
from app.market.sessions import END_MS, FIRST_MS

STATIC = Path(__file__).parent / "static"
MAX_CANDLES = 1_500
DEFAULT_CANDLES = 500
MAX_REJECTIONS = 100
MAX_STREAMS = 200
GOLD_INTERVAL_S = 1.0

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
        "form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class BackgroundThreads(Protocol):
    """Threads that update what the page shows."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def create_app(
    page: Page,
    threads: Sequence[BackgroundThreads],
    allowed_hosts: list[str],
    token: str | None = None,
) -> Starlette:
    """Create the application; it starts the threads, and stops them when it ends.

    :param allowed_hosts: accepted `Host` headers, `["*"]` for any.
    :param token: without it, requests are answered with 401; None: not needed.
    """
    routes = Routes(page)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        broadcaster = routes.broadcaster = Broadcaster(page)
        page.live.on_change(broadcaster.notify)
        gold = asyncio.create_task(_follow_gold(page, broadcaster))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            broadcaster.stop()
            gold.cancel()
            for thread in threads:
                await asyncio.to_thread(thread.stop)

    app = Starlette(
        routes=[
            Route("/", routes.index),
            Route("/healthz", routes.healthz),
            Route("/events", routes.events),
            Route("/api/symbols", routes.symbols),
            Route("/api/candles", routes.candles),
            Route("/api/summary", routes.summary),
            Route("/api/sparklines", routes.sparklines),
            Route("/api/rejections", routes.rejections),
            Route("/api/gold/{table}", routes.gold),
            Route("/api/replay", routes.replay, methods=["GET"]),
            Route("/api/replay", routes.steer, methods=["POST"]),
            Route("/api/status", routes.status),
            Route("/api/openapi.json", routes.openapi),
            Mount("/static", routes=[Route("/{path:path}", StaticFiles(STATIC).answer)]),
        ],
        lifespan=lifespan,
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts, www_redirect=False),
            *([Middleware(RequireToken, token=token)] if token else []),
            Middleware(GZipMiddleware, compresslevel=6),
        ],
        exception_handlers={HTTPException: _sentence, GoldNotBuilt: _not_built},
    )
    app.state.stop_streams = routes.stop_streams
    return app


async def _follow_gold(page: Page, broadcaster: Broadcaster) -> None:
    while True:
        if await asyncio.to_thread(page.gold.refresh):
            broadcaster.notify()
        await asyncio.sleep(GOLD_INTERVAL_S)


class Routes:
    """The endpoints."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._remote = ReplayRemote(page.replay_folder, page.replay)
        self._html = StaticFile(STATIC / "index.html")
        self.broadcaster: Broadcaster | None = None

    def stop_streams(self) -> None:
        """End every open stream, so that the server can shut down."""
        if self.broadcaster:
            self.broadcaster.stop()

    async def index(self, request: Request) -> Response:
        server_id = self.broadcaster.server_id if self.broadcaster else ""
        asked = request.query_params.get("symbol")
        interval = _known_interval(request) or "1m"
        view = await asyncio.to_thread(first_view, self._page, asked, interval, server_id)
        return HTMLResponse(with_first_view(self._html.read().content, view))

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def symbols(self, request: Request) -> Response:
        return _json({"symbols": self._page.symbols()})

    async def status(self, request: Request) -> Response:
        return _json(self._page.status())

    async def replay(self, request: Request) -> Response:
        return _json({"replay": self._page.replay()})

    async def steer(self, request: Request) -> Response:
        return _json({"replay": await self._remote.command(request)})

    async def openapi(self, request: Request) -> Response:
        return _json(openapi(installed_version(), MAX_CANDLES, DEFAULT_CANDLES))

    async def summary(self, request: Request) -> Response:
        summary = await asyncio.to_thread(self._page.summary)
        return Response(summary, media_type="application/json")

    async def sparklines(self, request: Request) -> Response:
        return _json({"closes": await asyncio.to_thread(self._page.sparklines)})

    async def rejections(self, request: Request) -> Response:
        return _json({"rejections": self._page.rejections(MAX_REJECTIONS)})

    async def candles(self, request: Request) -> Response:
        symbol, limit = self._symbol(request), _limit(request)
        interval, before_ms = _interval(request), _before(request)
        candles, _ = await asyncio.to_thread(self._page.candles, symbol, limit, interval, before_ms)
        return _json({"symbol": symbol, "interval": interval, "candles": candles})

    async def gold(self, request: Request) -> Response:
        table = request.path_params["table"]
        if table not in TABLES:
            raise HTTPException(
                404, f"Gold has no table {table!r}; request one of {', '.join(TABLES)}."
            )
        gold = self._page.gold.require()
        if table == "candlestick":
            symbol, limit = self._symbol(request), _limit(request)
            rows = await asyncio.to_thread(gold.candles, symbol, limit)
        else:
            rows = gold.tables[table]
        return _json({"built_at": gold.built_at_ms, "rows": [as_json(row) for row in rows]})

    async def events(self, request: Request) -> Response:
        symbol, interval = self._symbol(request), _interval(request)
        assert self.broadcaster is not None
        if self.broadcaster.streams >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} pages are open already; close one of them.")
        last_id = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
        return EventStream(self.broadcaster, stream(self.broadcaster, symbol, interval, last_id))

    def _symbol(self, request: Request) -> str:
        symbol = request.query_params.get("symbol", "")
        if not symbol:
            raise HTTPException(400, "Name a symbol, as in ?symbol=AAPL.")
        if symbol not in self._page.symbols():
            raise HTTPException(
                404,
                f"No candle of {symbol[:64]!r} has been seen; /api/symbols lists the known ones.",
            )
        return symbol


class EventStream(StreamingResponse):
    """A response of server-sent events, which counts as open from before its first byte."""

    def __init__(self, broadcaster: Broadcaster, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._broadcaster = broadcaster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._broadcaster.open_stream():
            await super().__call__(scope, receive, send)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_CANDLES))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_CANDLES):
        raise HTTPException(
            400, f"The limit {text[:20]!r} must be an integer from 1 to {MAX_CANDLES}."
        )
    return int(text)


def _interval(request: Request) -> Interval:
    if interval := _known_interval(request):
        return interval
    text = request.query_params["interval"]
    raise HTTPException(400, f"The interval {text[:20]!r} is not one of {', '.join(INTERVALS)}.")


def _known_interval(request: Request) -> Interval | None:
    text = request.query_params.get("interval", "1m")
    return next((interval for interval in INTERVALS if interval == text), None)


def _before(request: Request) -> int | None:
    text = request.query_params.get("before")
    if text is None:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) < 16
    if not (is_number and FIRST_MS <= int(text) <= END_MS):
        raise HTTPException(
            400, f"before {text[:20]!r} must be a time in UNIX ms, from 1990 to 2050."
        )
    return int(text)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _sentence(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


async def _not_built(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503)


class SafeHeaders:
    """Middleware: adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)
