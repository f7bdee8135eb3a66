"""Steer the replay that runs: `GET` and `POST /api/replay`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.dashboard.access import is_same_origin
from app.feeds.replay.control import ReplayCommand, ReplayState, send_command

MAX_BYTES = 1_000
CHECK_S = 0.05
CHECKS = 100
"""How often the replay is asked whether it has obeyed, before an error is returned."""


class ReplayRemote:
    """Sends commands to the replay of `folder`.

    :param state: returns the newest state, None while no replay runs.
    """

    def __init__(self, folder: Path, state: Callable[[], ReplayState | None]) -> None:
        self._folder = folder
        self._state = state

    async def command(self, request: Request) -> ReplayState:
        """Send the command in the request; return the state after it.

        :raises HTTPException: it is not of this page, invalid, or no replay obeys.
        """
        if not is_same_origin(request.headers):
            raise HTTPException(403, "Only this page itself may steer the replay.")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise HTTPException(415, "Send JSON, with content-type application/json.")
        command = await _decoded(request)
        state = self._state()
        if state is None:
            raise HTTPException(
                409, "No replay is running that can be steered: start it with --speed."
            )
        if command.position_ms is not None and command.position_ms < state.position_ms:
            raise HTTPException(400, "A replay cannot go back: its trades are published.")
        try:
            sent = send_command(self._folder, command)
        except OSError as error:
            raise HTTPException(503, f"{self._folder}: {error.strerror}.") from None
        for _ in range(CHECKS):
            if not sent.exists():
                break
            await asyncio.sleep(CHECK_S)
        state = self._state()
        if sent.exists() or state is None:
            sent.unlink(missing_ok=True)
            raise HTTPException(504, "The replay does not answer; it may have ended.")
        return state


async def _decoded(request: Request) -> ReplayCommand:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"A command has at most {MAX_BYTES:,} bytes.")
    try:
        return msgspec.json.decode(body, type=ReplayCommand)
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"Not a command: {error}.") from None
