"""Input that goes to Kafka in parts, for tests that do things in the middle of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from app.contracts import STOCKS_TOPIC
from app.settings import Settings
from tests.support import end_offsets, send

Pair = tuple[bytes | None, bytes]
"""Key and value of a message."""
PATIENCE_S = 180
"""How long Kafka may take for the last of it: it may be away."""


class Feeder:
    """Sends the input a part at a time, slowly enough that what reads it is in the middle of it."""

    def __init__(
        self, settings: Settings, sent: list[Pair], parts: int, topic: str = STOCKS_TOPIC
    ) -> None:
        self.part = len(sent) // parts + 1
        """How many messages a part has."""
        self._settings = settings
        self._sent = sent
        self._topic = topic
        self._allowed = threading.Semaphore(0)
        self._count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def release(self, parts: int = 1) -> None:
        """Let `parts` more of the input go, over about two seconds each."""
        self._allowed.release(parts)

    def finish(self) -> None:
        """Send the rest; all of it is in Kafka on return."""
        self.release(len(self._sent) // self.part + 1)
        self._thread.join()
        assert self._count == len(self._sent)
        assert sum(end_offsets(self._settings, self._topic).values()) == self._count

    def _run(self) -> None:
        self._count = send(self._settings, self._topic, self._paced(), timeout_s=PATIENCE_S)

    def _paced(self) -> Iterator[Pair]:
        for number, pair in enumerate(self._sent):
            if number % self.part == 0:
                self._allowed.acquire()
            elif number % (self.part // 40 + 1) == 0:
                time.sleep(0.05)
            yield pair
