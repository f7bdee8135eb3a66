"""What the headers of an HTTP answer say about the time: pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import NamedTuple

MOST_WAIT_MS = 3_600_000
"""A server that asks for more is asked again after an hour: it may have said so by mistake."""
LATER_BY_UP_TO = 1.1
"""What waited for one server does not come back at once."""

_AGE = re.compile(r"[0-9]{1,9}")
_WAIT = re.compile(r"[0-9]+(\.[0-9]+)?")


def date_ms_of(date: str | None, age: str | None = None) -> int | None:
    """When the server made its answer, in UNIX ms; None if `Date` is missing or malformed.

    :param date: the header `Date`, in whole seconds: the server's clock was up to a second later.
    :param age: the header `Age` of an answer that a cache has kept; ignored if it is no number.
    """
    moment = _moment(date or "")
    if moment is None:
        return None
    age = (age or "").strip()
    return _ms(moment) + (int(age) * 1000 if _AGE.fullmatch(age) else 0)


class RetryAfter(NamedTuple):
    """When an answer says its server may be asked again.

    :ivar text: the header `Retry-After`, seconds or an HTTP date; None if there is none.
    :ivar date_ms: when the server made the answer, in UNIX ms by its own clock, if it says so.
    """

    text: str | None = None
    date_ms: int | None = None

    def wait_ms(self, now_ms: int) -> int | None:
        """How long to wait, an hour at most; None if the answer does not say it.

        :param now_ms: stands for the server's clock if the answer has no date.
        """
        text = (self.text or "").strip()
        if _WAIT.fullmatch(text):
            return ceil(min(float(text) * 1000, MOST_WAIT_MS))
        moment = _moment(text)
        if moment is None:
            return None
        from_ms = now_ms if self.date_ms is None else self.date_ms
        return max(0, min(_ms(moment) - from_ms, MOST_WAIT_MS))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(text: str) -> datetime | None:
    """An HTTP date in any of the three forms of RFC 9110; one without a zone is in GMT."""
    text = text.strip()
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is not None:
        return moment
    # The form of asctime ends in its year; what ends in letters names a zone that is not known.
    return moment.replace(tzinfo=UTC) if text[-1].isdigit() else None
