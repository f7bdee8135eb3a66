"""The life of an embedded server: launched, waited for, ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.embedded.process import ChildProcess, EmbeddedError


class EmbeddedServer(ABC):
    """A server of one's own on this machine, as a context manager.

    `stop`, `kill` and `start` may follow each other.

    :param folder: holds what it stores; started again there it is the same server.
    :param log: where its output goes.
    """

    name: ClassVar[str]
    """What sentences call it."""
    start_s: ClassVar[float]
    """How long it may take until it answers."""
    grace_s: ClassVar[float]
    """How long it may take to end by itself."""

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
        """Start it without waiting for it.

        :raises EmbeddedError: what it needs is missing or taken.
        """
        self._process = ChildProcess(self.prepare(), log=self.log, cwd=self.folder)
        return self._process

    @abstractmethod
    def prepare(self) -> list[str | Path]:
        """Make `folder` ready for a start; the command that starts it.

        :raises EmbeddedError: what it needs is missing or taken.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Whether clients are served by now."""

    def wait_ready(self) -> None:
        """Return when it answers.

        :raises EmbeddedError: it ended or did not answer in time; with the tail of its log.
        """
        if self._process is None:
            raise EmbeddedError(f"{self.name} was not started.")
        self._process.wait_for(self.answers, self.name, self.start_s)

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_ready()
        return self

    def stop(self) -> None:
        """End it cleanly; by force after `grace_s`."""
        if self._process:
            self._process.stop(self.grace_s)

    def kill(self) -> None:
        """End it at once, as a power cut would (kill -9)."""
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
