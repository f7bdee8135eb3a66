"""The REST interface: tokens, limits, paths, bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.rest import SimulatedRestApi

NOW_MS = 1_780_000_000_000


def api(**options: Any) -> SimulatedRestApi:
    exchange = Exchange(seed=1, rate=100.0, now_ms=NOW_MS - 60_000)
    exchange.step(NOW_MS, ["AAPL"])
    return SimulatedRestApi(exchange, {"key", "other"}, **options)


def ask(
    rest: SimulatedRestApi, target: str, token: str | None = "key", now_ms: int = NOW_MS
) -> tuple[int, Any]:
    answer = rest.answer(target, token, now_ms)
    return answer.status.value, json.loads(answer.body)


def test_a_quote_has_finnhubs_fields() -> None:
    status, body = ask(api(), "/api/v1/quote?symbol=AAPL")
    assert status == 200
    assert list(body) == ["c", "d", "dp", "h", "l", "o", "pc", "t"]
    assert body["l"] <= body["o"] <= body["h"]
    assert body["l"] <= body["c"] <= body["h"]
    assert body["d"] == pytest.approx(body["c"] - body["pc"])
    assert body["dp"] == pytest.approx(100 * body["d"] / body["pc"], abs=1e-4)
    assert NOW_MS / 1000 - 10 <= body["t"] <= NOW_MS / 1000


@pytest.mark.parametrize(
    "target",
    ["/api/v1//quote?symbol=BRK.B", "//api/v1/quote?symbol=BRK.B", "/api/v1/quote?symbol=BRK%2EB"],
)
def test_double_slashes_and_escapes_are_no_matter(target: str) -> None:
    status, body = ask(api(), target)
    assert (status, body["c"] > 0) == (200, True)


def test_an_unknown_symbol_is_status_200_with_zeros_and_nulls() -> None:
    assert ask(api(), "/api/v1/quote?symbol=NOSUCHSYMBOL") == (
        200,
        {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0},
    )


def test_the_token_may_stand_in_the_query() -> None:
    assert ask(api(), "/api/v1/quote?symbol=AAPL&token=other", None)[0] == 200


def test_a_wrong_or_missing_token_is_401() -> None:
    wrong = (401, {"error": "Invalid API key."})
    assert ask(api(), "/api/v1/quote?symbol=AAPL&token=bad", None) == wrong
    assert ask(api(), "/api/v1/quote?symbol=AAPL&token=key", "bad") == wrong
    missing = (401, {"error": "Please use an API key."})
    assert ask(api(), "/api/v1/quote?symbol=AAPL", None) == missing


def test_the_61st_call_of_a_minute_is_429_and_the_next_minute_is_free_again() -> None:
    rest = api()
    target = "/api/v1/quote?symbol=AAPL"
    statuses = [ask(rest, target, now_ms=NOW_MS + 500 * call)[0] for call in range(61)]
    assert statuses == [200] * 60 + [429]
    text = "API limit reached. Please try again later. Remaining Limit: 0"
    assert ask(rest, target, now_ms=NOW_MS + 59_999) == (429, {"error": text})
    assert ask(rest, target, "other", now_ms=NOW_MS + 59_999)[0] == 200
    assert ask(rest, target, now_ms=NOW_MS + 60_000)[0] == 200


def test_the_31st_call_of_a_second_is_429() -> None:
    rest = api(calls_per_minute=1_000)
    statuses = [ask(rest, "/api/v1/quote?symbol=AAPL")[0] for _ in range(31)]
    assert statuses == [200] * 30 + [429]


def test_a_limit_that_is_reached_reports_when_it_is_not_any_more() -> None:
    minute, second = api(calls_per_minute=2), api()
    for _ in range(2):
        ask(minute, "/api/v1/quote?symbol=AAPL")
    for _ in range(30):
        ask(second, "/api/v1/quote?symbol=AAPL")
    for rest, after in ((minute, "59"), (second, "1")):
        answer = rest.answer(
            "/api/v1/quote?symbol=AAPL", "key", NOW_MS + 900 + (rest is minute) * 200
        )
        assert (answer.status, answer.headers["Retry-After"]) == (429, after)


def test_headers_report_the_limit() -> None:
    headers = api().answer("/api/v1/quote?symbol=AAPL", "key", NOW_MS).headers
    assert dict(headers) == {
        "X-Ratelimit-Limit": "60",
        "X-Ratelimit-Remaining": "59",
        "X-Ratelimit-Reset": str(NOW_MS // 1000 + 60),
    }


def test_without_a_limit_nothing_is_rejected() -> None:
    rest = api(calls_per_minute=0)
    assert {ask(rest, "/api/v1/quote?symbol=AAPL")[0] for _ in range(200)} == {200}


def test_the_market_is_always_open() -> None:
    assert ask(api(), "/api/v1/stock/market-status?exchange=US") == (
        200,
        {
            "exchange": "US",
            "holiday": None,
            "isOpen": True,
            "session": "regular",
            "t": NOW_MS // 1000,
            "timezone": "America/New_York",
        },
    )
    assert ask(api(), "/api/v1/stock/market-holiday?exchange=US")[1]["data"] == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/quote", 422),
        ("/api/v1/quote?symbol=", 422),
        ("/api/v1/stock/candle?symbol=AAPL", 403),
        ("/api/v1/nothing", 404),
        ("/quote?symbol=AAPL", 404),
    ],
)
def test_what_a_free_key_cannot_have_is_rejected(target: str, status: int) -> None:
    assert ask(api(), target)[0] == status
