"""Control a running replay through files in the data folder.

The replay writes `replay/state.json` each second and after each command. Each command is a separate
file beside it. The replay deletes the file once its state shows the effect.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from app.feeds.replay.pacing import Pacer
from app.outputs import write_atomically
from app.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.2
STATE_EVERY_S = 1.0
EXPIRED_MS = 5_000
"""A state older than this belongs to a replay that was killed."""
MAX_SPEED = 1_000_000.0

T = TypeVar("T")


class ReplayState(Struct, frozen=True):
    """The state of a replay at time `at`. All times are UNIX ms."""

    at: int
    file: str
    first_ms: int
    last_ms: int
    position_ms: int
    """The time up to which the replay has published."""
    speed: float
    """Multiple of real time."""
    paused: bool


class ReplayCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """The values that a replay should change; null values stay as they are."""

    paused: bool | None = None
    speed: Annotated[float, Meta(ge=0.001, le=MAX_SPEED)] | None = None
    position_ms: int | None = None
    """Publish all events before this time at once."""


def replay_folder(settings: Settings) -> Path:
    """Return the folder of the state and the commands."""
    return settings.home / "replay"


def read_state(folder: Path, now: int) -> ReplayState | None:
    """Return the state of the replay that runs at `now` (UNIX ms); None if none runs."""
    try:
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=ReplayState)
    except (OSError, msgspec.DecodeError):
        return None
    return state if now - state.at < EXPIRED_MS else None


def send_command(folder: Path, command: ReplayCommand) -> Path:
    """Write a command; the replay deletes the file after executing the command.

    :raises OSError: the folder cannot be written to.
    """
    path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.command"
    write_atomically(path, msgspec.json.encode(command))
    return path


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ReplayControl:
    """Executes the commands and publishes the state of one replay.

    :param now_ms: returns the current time in UNIX ms.
    """

    def __init__(
        self, folder: Path, file: str, pacer: Pacer, now_ms: Callable[[], int] = _now_ms
    ) -> None:
        self._folder = folder
        self._file = file
        self._pacer = pacer
        self._now_ms = now_ms
        self._written_ms = 0

    def begin(self) -> None:
        """Delete commands for an earlier replay, and write the first state.

        :raises OSError: the folder cannot be written to.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._commands():
            path.unlink()
        self._write_state()

    def poll(self) -> None:
        """Execute pending commands; write the state after them, or when it is old.

        :raises OSError: the folder cannot be written to.
        """
        commands = self._commands()
        for path in commands:
            try:
                self._execute(msgspec.json.decode(path.read_bytes(), type=ReplayCommand))
            except msgspec.DecodeError as error:
                log.warning("the command %s to the replay is ignored: %s", path, error)
        if commands or self._now_ms() - self._written_ms >= STATE_EVERY_S * 1000:
            self._write_state()
        for path in commands:
            path.unlink()

    def end(self) -> None:
        """Delete the state, because the replay is over."""
        (self._folder / "state.json").unlink(missing_ok=True)

    def _commands(self) -> list[Path]:
        return sorted(self._folder.glob("*.command"))

    def _execute(self, command: ReplayCommand) -> None:
        if command.speed is not None:
            self._pacer.set_speed(command.speed)
        if command.paused is not None:
            self._pacer.set_paused(command.paused)
        if command.position_ms is not None:
            self._pacer.skip_to(command.position_ms)

    def _write_state(self) -> None:
        pacer = self._pacer
        self._written_ms = self._now_ms()
        state = ReplayState(
            at=self._written_ms,
            file=self._file,
            first_ms=pacer.first_ms,
            last_ms=pacer.last_ms,
            position_ms=pacer.position_ms(),
            speed=pacer.speed,
            paused=pacer.paused,
        )
        write_atomically(self._folder / "state.json", msgspec.json.encode(state))


@contextmanager
def controlled(
    folder: Path, file: str, pacer: Pacer, events: Iterable[T], at_ms: Callable[[T], int]
) -> Iterator[Iterator[T]]:
    """Yield each of `events` when it is due; execute commands in the meantime."""
    control = ReplayControl(folder, file, pacer)
    control.begin()
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(POLL_S):
            try:
                control.poll()
            except OSError as error:  # a full disk: the replay continues without control
                log.warning("the replay cannot be controlled: %s", error)

    thread = threading.Thread(target=run, name="control the replay", daemon=True)
    thread.start()
    try:
        yield pacer.due(events, at_ms)
    finally:
        ended.set()
        thread.join()
        control.end()
