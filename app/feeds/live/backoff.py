"""How long to wait before connecting again: exponential backoff with jitter."""

from __future__ import annotations

from http import HTTPStatus
from random import Random

from app.feeds.http_headers import LATER_BY_UP_TO


class Backoff:
    """How long to wait before each attempt: at once, then ever longer, with jitter.

    At most 60 s; the server's own trouble (5xx) begins at 5 s and 429 at 60 s, with a limit of
    five minutes. A server that names a time itself is not asked before, and soon after.
    """

    CAP_S = 60.0
    BUSY_CAP_S = 300.0

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._attempts = 0

    def next_s(self, status: int | None = None, asked_ms: int | None = None) -> float:
        """Seconds to wait now.

        :param status: what the handshake was answered with, if it was.
        :param asked_ms: how long the server asks to wait, if it does; its status then says no more.
        """
        attempt, self._attempts = self._attempts, self._attempts + 1
        if asked_ms is None:
            return self._delay_s(attempt, status)
        asked_s = asked_ms / 1000 * self._rng.uniform(1.0, LATER_BY_UP_TO)
        return max(asked_s, self._delay_s(attempt, None))

    def _delay_s(self, attempt: int, status: int | None) -> float:
        base_s, cap_s = 1.0, self.CAP_S
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            base_s, cap_s = 60.0, self.BUSY_CAP_S
        elif status is not None and status >= 500:
            base_s, cap_s = 5.0, self.BUSY_CAP_S
        elif attempt == 0:
            return 0.0
        longest_s = min(cap_s, base_s * 2.0 ** min(max(attempt - 1, 0), 20))
        return longest_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The connection proved itself: the next end is a new one."""
        self._attempts = 0
