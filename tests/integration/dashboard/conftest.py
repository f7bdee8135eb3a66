"""The page served in this process, and a browser that looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn

from app.dashboard.server import Server, address, build, listen
from app.settings import Settings

Serve = Callable[..., Any]
HOST = "127.0.0.1"


@contextmanager
def serving(settings: Settings, port: int = 0) -> Iterator[str]:
    """The page of `settings`, at the address yielded, until the end of the block."""
    listener = listen(HOST, port)
    app = build(settings, HOST, lambda: time.time_ns() // 1_000_000)
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5), app)
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


class Look:
    """A browser tab at the page, and what went wrong in it."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.errors: list[str] = []
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type == "error" else None,
        )

    def open(self, url: str) -> Look:
        self.tab.goto(url)
        return self

    def sees(self, text: str, within: str = "body") -> None:
        """Wait until `text` stands within the element."""
        self._until(
            "([text, within]) => document.querySelector(within).textContent.includes(text)",
            [text, within],
        )

    def sees_not(self, text: str, within: str = "body") -> None:
        self._until(
            "([text, within]) => !document.querySelector(within).textContent.includes(text)",
            [text, within],
        )

    def last_candle_is(self, close: float, status: str) -> None:
        """Wait until the newest candle of the chart is this."""
        self._until(
            """([close, status]) => {
                const shown = document.querySelector("#chart").dataset;
                return Number(shown.lastClose) === close && shown.lastStatus === status;
            }""",
            [close, status],
        )

    def candle_count_is(self, count: int) -> None:
        self._until(
            "(count) => Number(document.querySelector('#chart').dataset.candles) === count", count
        )

    def _until(self, condition: str, argument: Any) -> None:
        self.tab.wait_for_function(condition, arg=argument, timeout=60_000)


@pytest.fixture
def look(browser: Any) -> Iterator[Look]:
    """A fresh tab, as wide as a desk's screen, in New York."""
    context = browser.new_context(
        viewport={"width": 1600, "height": 1000}, timezone_id="America/New_York", locale="en-US"
    )
    yield Look(context.new_page())
    context.close()
