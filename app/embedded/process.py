"""Child processes in their own process groups, which can be stopped completely."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.errors import TickhouseError

CHILD = Path(__file__).with_name("child.py")
TAIL_LINES = 15
POLL_S = 0.05


class EmbeddedError(TickhouseError):
    """An embedded server or a part of the demo could not be started."""


class ChildProcess:
    """A command that runs in its own session and appends its output to a file.

    On Linux it receives SIGTERM when the thread that started it ends, so start it in the main
    thread.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code: None while it runs, negative if a signal ended it."""
        return self._process.poll()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines that this process logged, without inner lines of Java traces."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode(errors="replace")
        kept = [line for line in text.splitlines() if not line.startswith("\tat ")]
        return "\n".join(kept[-lines:])

    def wait_for(self, ready: Callable[[], bool], name: str, timeout_s: float) -> None:
        """Wait until `ready` returns true.

        :raises EmbeddedError: the process ended, or was not ready in time. The message contains the
            end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_code() is not None:
                raise self.failure(name, "ended at once")
            if time.monotonic() > deadline:
                raise self.failure(name, f"did not answer within {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def failure(self, name: str, what: str) -> EmbeddedError:
        """Return the error for a process that failed, with the end of its log."""
        return EmbeddedError(
            f"{name} {what}; its log {self.log} ends with:\n{self.tail() or '(nothing)'}"
        )

    def interrupt(self) -> None:
        """Send SIGTERM to the process group."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process group."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_s: float = 10) -> None:
        """Send SIGTERM to the process group, and SIGKILL after `grace_s`."""
        self.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return
