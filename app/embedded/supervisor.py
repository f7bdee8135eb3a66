"""Start the parts of the demo, restart them with back-off, and stop them in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.embedded.process import ChildProcess, EmbeddedError

POLL_S = 0.2
STEADY_S = 60.0
"""A part that ran this long before it ended is restarted with the shortest delay."""
_FIRST_DELAY_S = 1.0
_LARGEST_DELAY_S = 30.0


@dataclass(frozen=True)
class Part:
    """One process of the demo.

    :param launch: starts the process, without waiting until it is ready.
    :param is_ready: returns whether the part is working.
    :param stop_order: parts with smaller numbers are stopped first.
    :param grace_s: time between SIGTERM and SIGKILL.
    :param expect_kill: the part often has to be killed, which is harmless and not reported.
    """

    name: str
    launch: Callable[[], ChildProcess]
    is_ready: Callable[[], bool] = lambda: True
    stop_order: int = 1
    grace_s: float = 8.0
    expect_kill: bool = False


@dataclass
class _Running:
    part: Part
    process: ChildProcess
    started_at: float
    crashes: int = 0
    restart_at: float | None = field(default=None)


def restart_delay_s(crashes: int) -> float:
    """Return the delay before restarting a part that ended `crashes` times in a row."""
    return min(_FIRST_DELAY_S * 2.0 ** max(crashes - 1, 0), _LARGEST_DELAY_S)


class Supervisor:
    """Starts, watches and stops parts.

    Use it from one thread, because child processes end with the thread that started them.

    :param report: called with a sentence for each event.
    :param clock: returns seconds of a monotonic clock.
    """

    def __init__(
        self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self.force_stop = False

    def start(self, *parts: Part) -> None:
        """Launch `parts` without waiting for them."""
        for part in parts:
            self._running[part.name] = _Running(part, part.launch(), self._clock())

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until all of `names` are ready; watch the other parts in the meantime.

        :raises EmbeddedError: a part ended before it was ready, or was not ready in time.
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
        """Detect parts that ended, and restart those whose delay has passed."""
        for entry in self._running.values():
            if entry.restart_at is not None:
                if self._clock() >= entry.restart_at:
                    self._restart(entry)
            elif (code := entry.process.exit_code()) is not None:
                self._handle_exit(entry, code)

    def stop(self) -> None:
        """Stop every part, in order; kill those that do not end within their grace time."""
        for stage in sorted({entry.part.stop_order for entry in self._running.values()}):
            entries = [e for e in self._running.values() if e.part.stop_order == stage]
            self._stop_together(entries)
        self._running.clear()

    def _stop_together(self, entries: list[_Running]) -> None:
        for entry in entries:
            entry.process.interrupt()
        begun = self._clock()
        while waiting := [e for e in entries if e.process.exit_code() is None]:
            if all(self._clock() - begun > e.part.grace_s or self.force_stop for e in waiting):
                break
            time.sleep(POLL_S / 4)
        for entry in entries:
            if entry in waiting and not (self.force_stop or entry.part.expect_kill):
                self._report(f"{entry.part.name} did not stop in time and was killed")
            entry.process.kill()

    def _handle_exit(self, entry: _Running, code: int) -> None:
        entry.process.kill()  # ends the remaining processes of its group
        steady = self._clock() - entry.started_at > STEADY_S
        entry.crashes = 1 if steady else entry.crashes + 1
        delay_s = restart_delay_s(entry.crashes)
        entry.restart_at = self._clock() + delay_s
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._report(
            f"{entry.part.name} {how}; restarting it in {delay_s:.0f} s "
            f"(its log: {entry.process.log})"
        )

    def _restart(self, entry: _Running) -> None:
        try:
            entry.process = entry.part.launch()
        except EmbeddedError as error:
            entry.crashes += 1
            entry.restart_at = self._clock() + restart_delay_s(entry.crashes)
            self._report(f"{entry.part.name} could not be restarted: {error}")
            return
        entry.restart_at = None
        entry.started_at = self._clock()
