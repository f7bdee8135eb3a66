"""Check the health of the pipeline once, or periodically for the page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from msgspec import Struct

from app.health.observe import Observer
from app.health.stages import (
    WAREHOUSE_BEHIND_MS,
    Limits,
    Stage,
    evaluate,
    problems,
)
from app.settings import Settings

log = logging.getLogger("tickhouse.health")

INTERVAL_S = 10.0
FLUSHES = 3
"""The archive may be this many flush intervals behind, and at least a minute."""


class Health(Struct, frozen=True):
    """The health of the pipeline at `at` (UNIX ms)."""

    at: int
    namespace: str
    feed: str
    stages: list[Stage]
    problems: list[str]
    """A sentence per problem, with what to do about it."""


def check(observer: Observer, now: int) -> Health:
    """Observe and evaluate every stage.

    :param now: UNIX ms.
    """
    settings = observer.settings
    stages = evaluate(observer.observe(now), limits(settings))
    return Health(
        now, settings.tickhouse_namespace, settings.tickhouse_feed, stages, problems(stages)
    )


def limits(settings: Settings) -> Limits:
    """Return how long stages may be behind, which depends on intervals in the settings."""
    flushes_ms = int(settings.archive_flush_interval_s * 1000) * FLUSHES
    load_ms = 60_000 * settings.warehouse_load_minutes
    build_ms = 60_000 * max(settings.warehouse_load_minutes, settings.warehouse_build_minutes)
    return Limits(
        archive_ms=max(Limits().archive_ms, flushes_ms),
        load_ms=load_ms + WAREHOUSE_BEHIND_MS,
        build_ms=build_ms + WAREHOUSE_BEHIND_MS,
    )


class HealthMonitor:
    """Checks the health every `INTERVAL_S` in its own thread; `newest` is the last result.

    :param clock: returns the current time in UNIX ms.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._thread = threading.Thread(target=self._run, name="check health", daemon=True)
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self.newest: Health | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current check, without waiting for it."""
        self._stopping.set()

    def _run(self) -> None:
        observer: Observer | None = None
        while not self._stopping.is_set():
            try:
                observer = observer or Observer(self._settings)
                self.newest = check(observer, self._clock())
            except Exception:  # a failing health check must not stop the page
                log.exception("the health check failed; it is repeated in %.0f s", INTERVAL_S)
            self._stopping.wait(INTERVAL_S)
