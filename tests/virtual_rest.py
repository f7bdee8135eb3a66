"""REST calls of Finnhub's client in virtual time; see `tests.virtual_time`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from app.feeds.finnhub import rest
from tests.virtual_time import VirtualTimeLoop

_in_thread = rest._in_thread


def virtual_loop() -> VirtualTimeLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


async def in_thread(call: Callable[[], Any]) -> Any:
    """Make a call in a thread, as `app.feeds.finnhub.rest._in_thread` does, while no time passes.

    It begins when all else of its moment is done: which of two comes first is no matter of chance.
    """
    await asyncio.sleep(0.001)
    return await virtual_loop().run_in_thread(_in_thread(call))
