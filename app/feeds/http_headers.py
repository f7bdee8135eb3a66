"""What the headers of an HTTP answer say about the time: pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,9}")


def date_ms_of(date: str | None, age: str | None = None) -> int | None:
    """When the server made its answer, in UNIX ms; None if `Date` is missing or malformed.

    :param date: the header `Date`, in whole seconds: the server's clock was up to a second later.
    :param age: the header `Age` of an answer that a cache has kept; ignored if it is no number.
    """
    moment = _moment(date or "")
    if moment is None:
        return None
    return round(moment.timestamp() * 1000) + (_seconds(age) or 0) * 1000


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


def _seconds(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if _SECONDS.fullmatch(text) else None
