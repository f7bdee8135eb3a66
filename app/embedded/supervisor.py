"""Keeps the parts of the demo running: starts, watches, restarts with back-off, ends in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.embedded.process import ChildProcess, EmbeddedError

POLL_S = 0.2
STEADY_S = 60.0
"""A part that ran this long before it ended is restarted at once again."""
_FIRST_DELAY_S = 1.0
_LARGEST_DELAY_S = 30.0


@dataclass(frozen=True)
class Part:
    """One process of the demo.

    :param launch: starts it, without waiting.
    :param is_ready: whether it does its work by now.
    :param ends: parts with a smaller number are ended first.
    :param grace_s: how long it may take to end by itself.
    :param stubborn: it seldom ends in that time, and killing it does no harm: not worth a word.
    """

    name: str
    launch: Callable[[], ChildProcess]
    is_ready: Callable[[], bool] = lambda: True
    ends: int = 1
    grace_s: float = 8.0
    stubborn: bool = False


@dataclass
class _Running:
    part: Part
    process: ChildProcess
    started_at: float
    crashes: int = 0
    restart_at: float | None = field(default=None)


def restart_delay_s(crashes: int) -> float:
    """How long to wait before a part is started again that ended `crashes` times in a row."""
    return min(_FIRST_DELAY_S * 2.0 ** max(crashes - 1, 0), _LARGEST_DELAY_S)


class Supervisor:
    """Start, watch and end parts. Not for several threads: children die with the thread.

    :param say: told in a sentence what happens.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self.hurry = False

    def start(self, *parts: Part) -> None:
        """Launch `parts`, without waiting for them."""
        for part in parts:
            self._running[part.name] = _Running(part, part.launch(), self._clock())

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Return when all of `names` are ready; the other parts are watched meanwhile.

        :raises EmbeddedError: one ended before it was ready, or was not ready in time.
        """
        waiting = [self._running[name] for name in names]
        deadline = self._clock() + timeout_s
        while waiting := [entry for entry in waiting if not entry.part.is_ready()]:
            for entry in waiting:
                if entry.process.exit_code() is not None:
                    raise entry.process.failure(entry.part.name, "ended at once")
                if self._clock() > deadline:
                    raise entry.process.failure(
                        entry.part.name, f"was not ready within {timeout_s:.0f} s"
                    )
            self.check()
            time.sleep(POLL_S)

    def check(self) -> None:
        """Note parts that ended, and start again those whose time has come."""
        for entry in self._running.values():
            if entry.restart_at is not None:
                if self._clock() >= entry.restart_at:
                    self._restart(entry)
            elif (code := entry.process.exit_code()) is not None:
                self._note_end(entry, code)

    def stop(self) -> None:
        """End every part, in order; what does not end in its time is killed."""
        for stage in sorted({entry.part.ends for entry in self._running.values()}):
            entries = [e for e in self._running.values() if e.part.ends == stage]
            self._stop_together(entries)
        self._running.clear()

    def _stop_together(self, entries: list[_Running]) -> None:
        for entry in entries:
            entry.process.interrupt()
        begun = self._clock()
        while waiting := [e for e in entries if e.process.exit_code() is None]:
            if all(self._clock() - begun > e.part.grace_s or self.hurry for e in waiting):
                break
            time.sleep(POLL_S / 4)
        for entry in entries:
            if entry in waiting and not (self.hurry or entry.part.stubborn):
                self._say(f"{entry.part.name} did not end by itself; killed")
            entry.process.kill()

    def _note_end(self, entry: _Running, code: int) -> None:
        entry.process.kill()  # what it left in its group
        steady = self._clock() - entry.started_at > STEADY_S
        entry.crashes = 1 if steady else entry.crashes + 1
        delay_s = restart_delay_s(entry.crashes)
        entry.restart_at = self._clock() + delay_s
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._say(
            f"{entry.part.name} {how}; starting it again in {delay_s:.0f} s "
            f"(its log: {entry.process.log})"
        )

    def _restart(self, entry: _Running) -> None:
        try:
            entry.process = entry.part.launch()
        except EmbeddedError as error:
            entry.crashes += 1
            entry.restart_at = self._clock() + restart_delay_s(entry.crashes)
            self._say(f"{entry.part.name} could not be started again: {error}")
            return
        entry.restart_at = None
        entry.started_at = self._clock()
