"""How long to wait before a new connection attempt: exponential backoff with jitter."""

from __future__ import annotations

from http import HTTPStatus
from random import Random

from app.feeds.http_headers import MAX_JITTER_FACTOR


class Backoff:
    """The wait before each connection attempt: none at first, then exponential with jitter.

    The wait is at most 60 s. After a 5xx response it starts at up to 5 s, after 429 at up to 60 s;
    both are limited to five minutes. A wait that the server asks for is the minimum, extended by up
    to a tenth.
    """

    CAP_S = 60.0
    BUSY_CAP_S = 300.0

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._attempts = 0

    def next_s(self, status: int | None = None, asked_ms: int | None = None) -> float:
        """Return the seconds to wait before the next attempt.

        :param status: the HTTP status of the last handshake, if there was one.
        :param asked_ms: how long the server asks to wait; it takes precedence over the status.
        """
        attempt, self._attempts = self._attempts, self._attempts + 1
        if asked_ms is None:
            return self._delay_s(attempt, status)
        asked_s = asked_ms / 1000 * self._rng.uniform(1.0, MAX_JITTER_FACTOR)
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
        """Start over, because the connection was stable."""
        self._attempts = 0
