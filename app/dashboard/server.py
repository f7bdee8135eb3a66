"""Serve the live page: the command `tickhouse dashboard`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.page import Page
from app.dashboard.reader import Readers
from app.dashboard.rejections import RecentRejections
from app.dashboard.routes import create_app
from app.errors import TickhouseError
from app.health.monitor import HealthMonitor
from app.hosts import is_loopback
from app.settings import Settings

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]
GRACE_S = 3


class DashboardError(TickhouseError):
    """The page cannot be served; the message gives the reason."""


def run(settings: Settings, host: str, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    :param port: 0 for any free port; the address is printed.
    :raises DashboardError: the server cannot listen on the address, or others could reach it and
        DASHBOARD_TOKEN is not set.
    """
    if not is_loopback(host) and settings.dashboard_token is None:
        raise DashboardError(
            f"The page would listen on {host}, where other machines can reach it. Set "
            "DASHBOARD_TOKEN to a long random text, which opens the page, or leave --host out."
        )
    listener = listen(host, port)
    app = build(settings, host, _now_ms)
    print(f"The page: {address(listener)}", flush=True)
    if settings.dashboard_token is not None:
        print("It needs its token: open it once with ?token=…, DASHBOARD_TOKEN.", flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
    )
    try:
        DashboardServer(config, app).run(sockets=[listener])
    except KeyboardInterrupt:
        return  # uvicorn has shut down cleanly and raises the signal again


def build(settings: Settings, host: str, clock: Callable[[], int]) -> Starlette:
    """Create the application for `settings`, to be served on `host`."""
    live = LiveCandles(settings.tickhouse_feed)
    monitor = HealthMonitor(settings, clock)
    rejections = RecentRejections()
    page = Page(
        settings, live, GoldReader(settings), clock, lambda: monitor.newest, rejections.newest
    )
    hosts = [*LOOPBACK_NAMES, host] if is_loopback(host) else ["*"]
    token = settings.dashboard_token
    return create_app(
        page,
        [Readers(settings, live, rejections), monitor],
        hosts,
        token=token.get_secret_value() if token else None,
    )


class DashboardServer(uvicorn.Server):
    """Ends event streams on shutdown; they would keep their connections open for ever."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stop_streams()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    :raises DashboardError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise DashboardError(
            f"The page cannot listen on {host} port {port}: {error.strerror or error}. Choose "
            "another with --port (0 for any free one) or --host."
        ) from None
    listener.listen(128)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
