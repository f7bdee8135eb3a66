"""What the headers of an HTTP answer say about the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.feeds.http_headers import date_ms_of

MOMENT_MS = 784_111_777_000


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 -0000",
    ],
)
def test_every_form_of_an_http_date_is_read(date: str) -> None:
    assert date_ms_of(date) == MOMENT_MS


@pytest.mark.parametrize(
    ("date", "hours"),
    [("Sun, 06 Nov 1994 03:49:37 -0500", 0), ("Sun, 06 Nov 1994 08:49:37 -0500", 5)],
)
def test_an_offset_is_taken_into_account(date: str, hours: int) -> None:
    assert date_ms_of(date) == MOMENT_MS + hours * 3_600_000


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "yesterday",
        "784111777",
        "Sun, 06 Nov 1994",
        "Sun, 06 Nov 1994 08:49:37 XYZ",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 -99999999999",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:38 GMT",
        "9" * 5_000,
    ],
)
def test_a_date_that_is_missing_or_malformed_is_none(date: str | None) -> None:
    assert date_ms_of(date) is None


def test_an_answer_from_a_cache_is_older_by_its_age() -> None:
    assert date_ms_of("Sun, 06 Nov 1994 08:49:37 GMT", "90") == MOMENT_MS + 90_000


@pytest.mark.parametrize("age", [None, "", "-5", "1.5", "soon", "1, 2", "٣", "9" * 5_000])
def test_an_age_that_is_none_is_ignored(age: str | None) -> None:
    assert date_ms_of("Sun, 06 Nov 1994 08:49:37 GMT", age) == MOMENT_MS


@given(
    st.text()
    | st.lists(
        st.sampled_from([*"0123456789", " ", ",", ":", "-", "+", "Sun", "Nov", "GMT", "EST", "."])
    ).map("".join)
)
def test_no_text_is_too_odd(text: str) -> None:
    date_ms_of(text, text)
