"""Base class of the embedded servers: launch, wait until ready, stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.embedded.process import ChildProcess, EmbeddedError


class EmbeddedServer(ABC):
    """A server on this machine, usable as a context manager.

    It can be started again after a stop or kill.

    :param folder: stores its data; a later start there continues with it.
    :param log: file for its output.
    """

    name: ClassVar[str]
    """Its name in messages."""
    start_s: ClassVar[float]
    """How long it may take to answer after a start."""
    grace_s: ClassVar[float]
    """Time between SIGTERM and SIGKILL."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.exit_code() is None

    def launch(self) -> ChildProcess:
        """Start the server without waiting until it is ready.

        :raises EmbeddedError: a file it needs is missing, or a port is in use.
        """
        self._process = ChildProcess(self.prepare(), log=self.log, cwd=self.folder)
        return self._process

    @abstractmethod
    def prepare(self) -> list[str | Path]:
        """Prepare `folder`, and return the command that starts the server.

        :raises EmbeddedError: a file it needs is missing, or a port is in use.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server serves clients."""

    def wait_ready(self) -> None:
        """Wait until the server answers.

        :raises EmbeddedError: it ended, or did not answer in time. The message contains the end of
            its log.
        """
        if self._process is None:
            raise EmbeddedError(f"{self.name} was not started.")
        self._process.wait_for(self.answers, self.name, self.start_s)

    def start(self) -> Self:
        """Start the server and wait until it answers."""
        self.launch()
        self.wait_ready()
        return self

    def stop(self) -> None:
        """Stop the server; kill it after `grace_s`."""
        if self._process:
            self._process.stop(self.grace_s)

    def kill(self) -> None:
        """Kill the server (SIGKILL), as in a crash."""
        if self._process:
            self._process.kill()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
