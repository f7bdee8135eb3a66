"""What the headers of an HTTP response state about the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.feeds.http_headers import MAX_RETRY_AFTER_MS, RetryAfter, date_ms_of

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


NOW_MS = 1_731_600_060_000


def test_seconds_are_waited_whatever_the_time_is() -> None:
    assert RetryAfter("120", None).wait_ms(NOW_MS) == 120_000
    assert RetryAfter(" 0 ", MOMENT_MS).wait_ms(NOW_MS) == 0
    assert RetryAfter("1.5", MOMENT_MS).wait_ms(NOW_MS) == 1_500


def test_a_moment_is_reckoned_from_the_servers_own_clock() -> None:
    retry_after = RetryAfter("Sun, 06 Nov 1994 08:51:37 GMT", MOMENT_MS)
    assert retry_after.wait_ms(NOW_MS) == 120_000
    assert retry_after.wait_ms(MOMENT_MS - NOW_MS) == 120_000


def test_without_a_date_a_moment_is_reckoned_from_the_clock_there_is() -> None:
    retry_after = RetryAfter("Sun, 06 Nov 1994 08:51:37 GMT", None)
    assert retry_after.wait_ms(MOMENT_MS) == 120_000
    assert retry_after.wait_ms(MOMENT_MS + 500_000) == 0


@pytest.mark.parametrize("text", ["86400", "9" * 5_000, "Mon, 07 Nov 1994 08:49:37 GMT"])
def test_nothing_is_waited_for_longer_than_an_hour(text: str) -> None:
    assert RetryAfter(text, MOMENT_MS).wait_ms(NOW_MS) == MAX_RETRY_AFTER_MS == 3_600_000


@pytest.mark.parametrize("text", [None, "", "-5", "soon", "5 s", "inf", "1e3", "٣", "5, 6"])
def test_what_is_no_time_reports_nothing(text: str | None) -> None:
    assert RetryAfter(text, MOMENT_MS).wait_ms(NOW_MS) is None


@given(
    st.text()
    | st.lists(
        st.sampled_from([*"0123456789", " ", ",", ":", "-", "+", "Sun", "Nov", "GMT", "EST", "."])
    ).map("".join)
)
def test_no_text_is_too_odd(text: str) -> None:
    date_ms_of(text, text)
    RetryAfter(text, MOMENT_MS).wait_ms(NOW_MS)
