"""Yield a replay's events when they are due, with pause, speed and jumps from other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Pacer:
    """The clock of a replay, which runs from `first_ms` to `last_ms` (UNIX ms).

    Call `due` from one thread; all other methods may be called from any thread.

    :param speed: how many seconds of the replay pass per second.
    :param wait: waits, releasing the lock, until something changes or the seconds have passed.
    """

    def __init__(
        self,
        first_ms: int,
        last_ms: int,
        speed: float,
        monotonic_s: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
    ) -> None:
        self.first_ms = first_ms
        self.last_ms = last_ms
        self._monotonic_s = monotonic_s
        self._wait = wait
        self._changed = threading.Condition()
        self._speed = speed
        self._paused = False
        self._since_s: float | None = None
        self._from_ms = float(first_ms)
        self._next_ms = first_ms

    @property
    def speed(self) -> float:
        return self._speed

    @property
    def paused(self) -> bool:
        return self._paused

    def position_ms(self) -> int:
        """Return the time up to which events have been yielded."""
        with self._changed:
            return int(min(self._now_ms(), self._next_ms))

    def set_speed(self, speed: float) -> None:
        with self._changed:
            self._restart_at(self._now_ms())
            self._speed = speed

    def set_paused(self, paused: bool) -> None:
        """Pause at the last yielded event, even if that is behind the clock; or resume."""
        with self._changed:
            stops = paused and not self._paused
            self._restart_at(min(self._now_ms(), self._next_ms) if stops else self._now_ms())
            self._paused = paused

    def skip_to(self, position_ms: int) -> None:
        """Yield events before `position_ms` without waiting. The clock never goes back."""
        with self._changed:
            self._restart_at(max(self._now_ms(), min(position_ms, self.last_ms)))

    def due(self, events: Iterable[T], at_ms: Callable[[T], int]) -> Iterator[T]:
        """Yield each event when it is due. The clock starts with the first event."""
        for event in events:
            with self._changed:
                if self._since_s is None:
                    self._since_s = self._monotonic_s()
                self._next_ms = max(self._next_ms, at_ms(event))
                while (left_ms := at_ms(event) - self._now_ms()) > 0:
                    self._wait(
                        self._changed, None if self._paused else left_ms / 1000 / self._speed
                    )
            yield event

    def _now_ms(self) -> float:
        if self._since_s is None or self._paused:
            return self._from_ms
        return self._from_ms + (self._monotonic_s() - self._since_s) * 1000 * self._speed

    def _restart_at(self, now_ms: float) -> None:
        self._from_ms = now_ms
        if self._since_s is not None:
            self._since_s = self._monotonic_s()
        self._changed.notify_all()
