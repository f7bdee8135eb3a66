"""`tickhouse simulate` as a process of its own, and settings that point to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import Settings
from tests.support import TICKHOUSE

TOKEN = "marker-token"
PATIENCE_S = 60


class SimulatorProcess:
    """A running simulator.

    :ivar at: host and port.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        greeting = process.stdout.readline()
        found = re.search(r"ws://([0-9.:]+)", greeting)
        assert found, f"no address in {greeting!r}"
        self.at = found[1]

    def settings(self, settings: Settings) -> Settings:
        """`settings` with this simulator as the feed."""
        return settings.model_copy(
            update={
                "finnhub_websocket_url": f"ws://{self.at}",
                "finnhub_rest_url": f"http://{self.at}/api/v1",
            }
        )

    def stop(self) -> None:
        """End it by SIGTERM, once all that it sent has arrived; its log is whole then."""
        self._process.terminate()
        assert self._process.wait(PATIENCE_S) == 0


@contextmanager
def simulator_process(*options: str, log: Path, folder: Path) -> Iterator[SimulatorProcess]:
    """A simulator on a free port that accepts `TOKEN` and notes its deliveries in `log`."""
    command = [TICKHOUSE, "simulate", "--port", "0", "--token", TOKEN, "--delivery-log", str(log)]
    with subprocess.Popen(
        [*command, *options], cwd=folder, text=True, stdout=subprocess.PIPE
    ) as process:
        try:
            yield SimulatorProcess(process)
        finally:
            process.kill()
