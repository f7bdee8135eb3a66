"""Quotes over REST: shapes, whose turn it is, and what becomes of answers."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.contracts import (
    Quote,
    Rejection,
    RejectionRecord,
    encode,
)
from app.feeds.clock import ManualClock
from app.feeds.finnhub.market_status import disagreement
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import RestCalls
from app.feeds.finnhub.vendor import FinnhubQuotes
from app.feeds.live.quotes import QuotePoller, QuoteSchedule
from app.feeds.live.recorder import Recorder
from app.feeds.replay.recording import read_recording
from app.feeds.vendor import RequestError
from app.message_parser import decode
from tests.unit.feeds.rest_api import FakeApi

NOW = 1_731_600_060_000
KNOWN = {"c": 261.74, "d": 0.1, "dp": 0.04, "h": 263, "l": 260.6, "o": 261.07, "pc": 259.45}
ANSWER = KNOWN | {"t": 1_731_600_000}
OPEN = {"exchange": "US", "holiday": None, "isOpen": True, "session": "regular"}
SATURDAY = 1_731_772_860_000
OPENING = 1_731_594_600_000
UNKNOWN = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}


def _message(payload: Any) -> Quote | Rejection | None:
    return parse_quote(payload, symbol="A", feed="live", source="src", received_at=NOW)


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
def test_a_malformed_quote_is_rejected(payload: Any) -> None:
    rejection = _message(payload)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "schema"


@pytest.mark.parametrize(
    "wrong", [{"c": float("nan")}, {"dp": float("-inf")}, {"h": 1e300}, {"t": 10**30}, {"t": -5}]
)
def test_a_quote_that_no_reader_of_the_topic_would_take_is_rejected(wrong: Any) -> None:
    assert isinstance(_message(ANSWER | wrong), Rejection)


class _Poller:
    """A poller of `symbols` whose API answers one after the other."""

    def __init__(
        self, *answers: Any, symbols: tuple[str, ...] = ("A",), recording: Path | None = None
    ) -> None:
        clock = ManualClock(NOW)
        self.api = FakeApi(*answers, clock=clock)
        self.symbols = symbols
        self.published: list[Quote | RejectionRecord] = []
        self.recorder = Recorder(recording, clock) if recording else None
        self.poller = QuotePoller(
            FinnhubQuotes(RestCalls([(self.api, CallBudget())], clock, Random(1)), "live", clock),
            parse_quote,
            lambda: self.symbols,
            feed="live",
            source="src",
            clock=clock,
            publish=self.published.append,
            last_trade_ms=lambda symbol: None,
            recorder=self.recorder,
        )

    def poll(self, symbol: str = "A") -> None:
        asyncio.run(self.poller.poll(symbol))

    def run_until_no_key_is_left(self) -> None:
        """Run on until the answers are used up, and the key with them."""
        self.api.answers += [RequestError("HTTP 401", "no", 401)] * 2
        asyncio.run(self.poller.run())


def test_a_quote_is_published() -> None:
    run = _Poller(ANSWER)
    run.poll()
    assert [(type(m), m.received_at) for m in run.published if isinstance(m, Quote)] == [
        (Quote, NOW)
    ]


def test_every_answer_is_recorded_with_the_time_of_its_message(tmp_path: Path) -> None:
    path = tmp_path / "day.gz"
    run = _Poller(ANSWER, UNKNOWN, RequestError("HTTP 403", "no", 403), recording=path)
    for _ in range(3):
        run.poll()
    assert run.recorder
    run.recorder.flush()
    recorded = [(e.at, e.what, e.symbols, e.answer) for e in read_recording(path)]
    assert recorded == [(NOW, "quote", ("A",), answer) for answer in (ANSWER, UNKNOWN)]


def test_a_rejection_is_named_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(OPEN, RequestError("HTTP 403: no access", "no", 403), ANSWER, symbols=("X", "A"))
    run.run_until_no_key_is_left()
    assert run.api.asked == ["US", "X", "A", "A", "A"]
    assert caplog.text.count("no quotes of X: HTTP 403: no access") == 1


def test_an_unknown_symbol_is_named_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(OPEN, UNKNOWN, ANSWER, ANSWER, symbols=("X", "A"))
    run.run_until_no_key_is_left()
    assert run.api.asked == ["US", "X", "A", "A", "A", "A"]
    assert {m.symbol for m in run.published if isinstance(m, Quote)} == {"A"}
    assert caplog.text.count("the vendor does not know it") == 1


@pytest.mark.parametrize("answer", [UNKNOWN, RequestError("HTTP 403", "no", 403)])
def test_a_symbol_whose_quote_is_once_all_zeros_is_asked_again_ever_more_seldom(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = _Poller(OPEN, answer, answer, answer, ANSWER, UNKNOWN, ANSWER)
    run.run_until_no_key_is_left()
    minutes = [(at_ms - NOW) // 60_000 for at_ms in run.api.asked_at_ms[1:]]
    assert minutes[:4] == [0, 5, 15, 35]
    assert minutes[5] - minutes[4] == 5, "after a quote it begins anew"
    assert caplog.text.count("no quotes of A") == caplog.text.count("quotes of A again") == 2


def test_http_401_for_one_symbol_does_not_drop_the_key(caplog: pytest.LogCaptureFixture) -> None:
    rejected = RequestError("HTTP 401: not in your plan", "no", 401)
    run = _Poller(OPEN, rejected, OPEN, ANSWER, ANSWER, symbols=("X", "A"))
    run.run_until_no_key_is_left()
    assert run.api.asked == ["US", "X", "US", "A", "A", "A", "A"]
    assert len(run.published) == 2
    assert "no quotes of X: HTTP 401: not in your plan" in caplog.text


def test_http_401_for_the_first_calls_drops_the_key_after_the_second() -> None:
    run = _Poller(symbols=("X", "A"))
    run.run_until_no_key_is_left()
    assert run.api.asked == ["US", "X"]


def test_a_rejected_key_ends_the_quotes(caplog: pytest.LogCaptureFixture) -> None:
    run = _Poller(OPEN)
    run.run_until_no_key_is_left()
    assert "correct FINNHUB_API_KEY" in caplog.text


def test_an_outage_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    run = _Poller(*[RequestError("HTTP 500", "soon", 500)] * 6)
    run.poll()
    run.poll()
    assert caplog.text.count("it will be retried") == 1


def test_a_malformed_quote_goes_to_the_rejections() -> None:
    run = _Poller({"c": "1"})
    run.poll()
    assert [type(m) for m in run.published] == [RejectionRecord]


def test_a_market_that_finnhub_sees_closed_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    _Poller(OPEN | {"session": None, "holiday": "A Day"}).run_until_no_key_is_left()
    assert "says that the US market is closed (A Day), the calendar says regular" in caplog.text


@pytest.mark.parametrize("status", [None, 7, [], {}, {"session": []}, {"session": {"a": 1}}])
def test_a_status_that_no_one_foresaw_ends_nothing(
    status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = _Poller(status, ANSWER)
    run.run_until_no_key_is_left()
    assert "market" in caplog.text
    assert [type(m) for m in run.published] == [Quote]


@pytest.mark.parametrize(
    ("feed", "at_ms", "status", "agrees"),
    [
        ("live", NOW, OPEN, True),
        ("live", NOW, OPEN | {"session": "post-market"}, False),
        ("live", NOW, {"error": "?"}, False),
        ("live", SATURDAY, OPEN, False),
        ("live", SATURDAY, OPEN | {"session": None}, True),
        ("simulated", SATURDAY, OPEN, True),
        ("live", OPENING - 60_000, OPEN, True),
        ("live", OPENING - 120_000, OPEN, False),
        ("live", OPENING - 120_000, OPEN | {"session": "pre-market"}, True),
    ],
)
def test_the_markets_status_is_compared_with_the_calendar(
    feed: Any, at_ms: int, status: Any, agrees: bool
) -> None:
    assert (disagreement(status, feed, at_ms) is None) == agrees


class _Schedule:
    """QuoteSchedule over some hours, second by second."""

    def __init__(self, trading: set[str], feed: Any = "simulated", start: int = NOW) -> None:
        self.now = start
        self.schedule = QuoteSchedule(feed, lambda symbol: self.now if symbol in trading else None)

    def count(self, symbols: tuple[str, ...], seconds: int) -> dict[str, int]:
        asked = dict.fromkeys(symbols, 0)
        for _ in range(seconds):
            self.now += 1_000
            if symbol := self.schedule.next(symbols, self.now):
                asked[symbol] += 1
        return asked


def test_symbols_without_live_trades_come_first_and_oftener() -> None:
    schedule = _Schedule({"LIVE"})
    assert [schedule.schedule.next(("LIVE", "QUIET"), NOW) for _ in range(3)] == [
        "QUIET",
        "LIVE",
        None,
    ]
    assert schedule.count(("LIVE", "QUIET"), 1_215) == {"LIVE": 10, "QUIET": 40}


def test_a_closed_market_is_asked_for_seldom_and_crypto_never_sleeps() -> None:
    asked = _Schedule(set(), "live", SATURDAY).count(("AAPL", "BINANCE:BTCUSDT"), 3_600)
    assert asked == {"AAPL": 4, "BINANCE:BTCUSDT": 120}


def test_symbols_beyond_the_call_limit_are_all_polled_in_time() -> None:
    symbols = tuple(f"S{number}" for number in range(300))
    asked = _Schedule(set()).count(symbols, 900)
    assert set(asked.values()) == {3}
