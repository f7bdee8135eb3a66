"""Read times from HTTP headers (`Date`, `Age`, `Retry-After`): pure functions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import NamedTuple

MAX_RETRY_AFTER_MS = 3_600_000
"""The longest wait that is accepted from a server; a longer one is probably a mistake."""
MAX_JITTER_FACTOR = 1.1
"""Factor of the jitter: clients that wait for one server must not all return at once."""

_AGE = re.compile(r"[0-9]{1,9}")
_WAIT = re.compile(r"[0-9]+(\.[0-9]+)?")


def date_ms_of(date: str | None, age: str | None = None) -> int | None:
    """Return when the server created its response, in UNIX ms; None if `Date` is unusable.

    :param date: the `Date` header, in whole seconds. The server's clock was up to a second later.
    :param age: the `Age` header of a cached response; ignored if it is not a number.
    """
    moment = _moment(date or "")
    if moment is None:
        return None
    age = (age or "").strip()
    return _ms(moment) + (int(age) * 1000 if _AGE.fullmatch(age) else 0)


class RetryAfter(NamedTuple):
    """When a server asks to be tried again.

    :ivar text: the `Retry-After` header, in seconds or as an HTTP date; None if it is missing.
    :ivar date_ms: when the server created the response, in UNIX ms by its own clock, if known.
    """

    text: str | None = None
    date_ms: int | None = None

    def wait_ms(self, now_ms: int) -> int | None:
        """Return how long to wait, at most an hour; None if the response does not ask for a wait.

        :param now_ms: used in place of the server's clock if the response has no date.
        """
        text = (self.text or "").strip()
        if _WAIT.fullmatch(text):
            return ceil(min(float(text) * 1000, MAX_RETRY_AFTER_MS))
        moment = _moment(text)
        if moment is None:
            return None
        from_ms = now_ms if self.date_ms is None else self.date_ms
        return max(0, min(_ms(moment) - from_ms, MAX_RETRY_AFTER_MS))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(text: str) -> datetime | None:
    """Parse an HTTP date in any of the three formats of RFC 9110. Without a zone it is in GMT."""
    text = text.strip()
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is not None:
        return moment
    # The asctime format ends with the year; other texts end with an unknown time zone.
    return moment.replace(tzinfo=UTC) if text[-1].isdigit() else None
