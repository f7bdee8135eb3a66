"""Quotes over REST: shapes, repeated attempts, and what is never shown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from random import Random
from typing import Any

import pytest

from app.contracts import Quote, Refusal, Rejected, decode, encode
from app.feeds.clock import ManualClock
from app.feeds.quotes import FinnhubQuotes, QuoteFault, QuotePoller, quote_message

NOW = 1_731_600_060_000
KNOWN = {"c": 261.74, "d": 0.1, "dp": 0.04, "h": 263, "l": 260.6, "o": 261.07, "pc": 259.45}
ANSWER = KNOWN | {"t": 1_731_600_000}
UNKNOWN = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}


def _message(payload: Any) -> Quote | Refusal | None:
    return quote_message(payload, symbol="A", feed="live", source="src", received_at=NOW)


def test_a_quote_keeps_finnhubs_numbers() -> None:
    quote = _message(ANSWER)
    assert isinstance(quote, Quote)
    assert (quote.c, quote.h, quote.t) == (Decimal("261.74"), Decimal(263), 1_731_600_000)
    assert decode(b"A", encode(quote), "live").message == quote


def test_an_unknown_symbol_is_no_price_of_zero() -> None:
    assert _message(UNKNOWN) is None


@pytest.mark.parametrize(
    "payload",
    [[], "", None, {}, ANSWER | {"c": "261"}, ANSWER | {"t": "1"}, ANSWER | {"c": None}],
)
def test_a_malformed_quote_is_refused(payload: Any) -> None:
    refusal = _message(payload)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "schema"


class _Api:
    """Answers one after the other; faults are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def quote(self, symbol: str) -> Any:
        self.asked.append(symbol)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class _NoWait(threading.Event):
    """Notes how long was waited, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout or 0.0)
        return self.is_set()


class _Poller:
    def __init__(self, *answers: Any, symbols: tuple[str, ...] = ("A",)) -> None:
        self.api = _Api(*answers)
        self.published: list[Quote | Rejected] = []
        self.stop = _NoWait()
        self.poller = QuotePoller(
            self.api,
            symbols,
            feed="live",
            source="src",
            clock=ManualClock(NOW),
            rng=Random(1),
            publish=self.published.append,
            stop=self.stop,
        )


def test_faults_that_pass_are_asked_again_with_longer_pauses() -> None:
    run = _Poller(QuoteFault("HTTP 502", "soon", 502), QuoteFault("time-out", "soon"), ANSWER)
    run.poller.poll("A")
    assert [type(m) for m in run.published] == [Quote]
    assert len(run.stop.waits_s) == 2
    assert 0.5 <= run.stop.waits_s[0] <= 1.0 <= run.stop.waits_s[1] <= 2.0


def test_used_up_calls_are_waited_for_longer() -> None:
    run = _Poller(QuoteFault("HTTP 429", "later", 429), ANSWER)
    run.poller.poll("A")
    assert run.stop.waits_s[0] >= 10.0
    assert len(run.published) == 1


def test_a_refusal_is_never_asked_again_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(QuoteFault("HTTP 403: no access", "no", 403), symbols=("A",))
    run.poller.run()
    assert run.api.asked == ["A"]
    assert "no quotes of A: HTTP 403: no access" in caplog.text


def test_an_unknown_symbol_is_named_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(UNKNOWN, UNKNOWN, symbols=("X", "Y"))
    run.poller.run()
    assert run.api.asked == ["X", "Y"]
    assert run.published == []
    assert caplog.text.count("Finnhub does not know it") == 2


def test_a_refused_key_ends_the_quotes(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(QuoteFault("HTTP 401: Invalid API key", "no", 401), symbols=("A", "B"))
    run.poller.run()
    assert run.api.asked == ["A"]
    assert "correct FINNHUB_API_KEY" in caplog.text


def test_an_outage_is_said_once_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    run = _Poller(*[QuoteFault("HTTP 500", "soon", 500)] * 6)
    run.poller.poll("A")
    run.poller.poll("A")
    assert caplog.text.count("the next minute tries again") == 1


def test_a_malformed_quote_goes_to_the_rejections() -> None:
    run = _Poller({"c": "1"})
    run.poller.poll("A")
    assert [type(m) for m in run.published] == [Rejected]


class _Rest(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]
    status, body = 200, b"{}"

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["X-Finnhub-Token"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def rest() -> Iterator[tuple[str, type[_Rest]]]:
    handler = type("Rest", (_Rest,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1", handler
        server.shutdown()
        thread.join()


def test_the_key_is_in_a_header_and_not_in_the_address(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    assert FinnhubQuotes(url, "secret").quote("BINANCE:BTCUSDT") == {}
    assert handler.asked == [("/api/v1//quote?symbol=BINANCE%3ABTCUSDT", "secret")]


@pytest.mark.parametrize(
    ("status", "retry"),
    [(429, "later"), (500, "soon"), (502, "soon"), (401, "no"), (403, "no"), (404, "no")],
)
def test_the_status_says_whether_asking_again_helps(
    rest: tuple[str, type[_Rest]], status: int, retry: str
) -> None:
    url, handler = rest
    handler.status, handler.body = status, b'{"error":"no secret here"}'
    with pytest.raises(QuoteFault) as caught:
        FinnhubQuotes(url, "secret").quote("A")
    assert (caught.value.status, caught.value.retry) == (status, retry)
    assert "secret" not in str(caught.value)


def test_a_body_that_is_no_json_is_a_fault_that_may_pass(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    handler.body = b"<html>secret"
    with pytest.raises(QuoteFault) as caught:
        FinnhubQuotes(url, "secret").quote("A")
    assert caught.value.retry == "soon"
    assert "secret" not in str(caught.value)


def test_the_network_being_down_is_a_fault_that_may_pass() -> None:
    with pytest.raises(QuoteFault) as caught:
        FinnhubQuotes("http://127.0.0.1:1/api/v1", "secret").quote("A")
    assert caught.value.retry == "soon"
    assert "secret" not in str(caught.value)
