"""The page served in this process, and a browser tab that shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from app.dashboard.server import DashboardServer, address, build, listen
from app.settings import Settings

Serve = Callable[..., Any]
HOST = "127.0.0.1"


@contextmanager
def serving(settings: Settings, port: int = 0) -> Iterator[str]:
    """Serve the page of `settings` within the block; yields its address."""
    with serving_app(build(settings, HOST, lambda: time.time_ns() // 1_000_000), port) as url:
        yield url


@contextmanager
def serving_app(app: Starlette, port: int = 0) -> Iterator[str]:
    """Serve `app` within the block; yields its address."""
    listener = listen(HOST, port)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    server = DashboardServer(config, app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield address(listener).rstrip("/")
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], str]]:
    """Serves the page of settings and returns its address."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(serving(settings))


class PageTab:
    """A browser tab that shows the page, and the errors in its console."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.errors: list[str] = []
        tab.set_default_timeout(120_000)  # only a page that hangs takes as long
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type == "error" else None,
        )

    def open(self, url: str) -> PageTab:
        """Open the page and wait until its controls work, which is after the first frame."""
        self.tab.goto(url)
        self.tab.wait_for_selector("#interval button[aria-pressed='true']")
        return self

    def expect_text(self, text: str, within: str = "body") -> None:
        """Wait until the element is there and contains `text`."""
        self._until(
            "([text, within]) => document.querySelector(within)?.textContent.includes(text)",
            [text, within],
        )

    def expect_no_text(self, text: str, within: str = "body") -> None:
        """Wait until the element is there and does not contain `text`."""
        self._until(
            """([text, within]) => {
                const element = document.querySelector(within);
                return element !== null && !element.textContent.includes(text);
            }""",
            [text, within],
        )

    def expect_last_candle(self, close: float, status: str) -> None:
        """Wait until the newest candle of the chart has this close and status."""
        self._until(
            """([close, status]) => {
                const shown = document.querySelector("#chart").dataset;
                return Number(shown.lastClose) === close && shown.lastStatus === status;
            }""",
            [close, status],
        )

    def expect_candle_count(self, count: int) -> None:
        self._until(
            "(count) => Number(document.querySelector('#chart').dataset.candles) === count", count
        )

    def _until(self, condition: str, argument: Any) -> None:
        self.tab.wait_for_function(condition, arg=argument, timeout=60_000)


@pytest.fixture
def page_tab(browser: Any) -> Iterator[PageTab]:
    """A new tab, 1600 x 1000, in New York's time zone."""
    context = browser.new_context(
        viewport={"width": 1600, "height": 1000}, timezone_id="America/New_York", locale="en-US"
    )
    yield PageTab(context.new_page())
    context.close()
