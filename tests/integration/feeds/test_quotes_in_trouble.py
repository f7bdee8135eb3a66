"""Quotes of a server in trouble: the real poller and client against the simulator's REST faults."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import app.feeds.finnhub.rest
from app.contracts import Quote, RejectionRecord
from app.feeds.clock import SteadyClock
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import ATTEMPTS, FinnhubRest, RestCalls
from app.feeds.finnhub.vendor import FinnhubQuotes
from app.feeds.live.quotes import QuotePoller
from app.feeds.simulator.faults.kinds import parse_fault
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.server.command import address, listen
from app.feeds.simulator.server.server import Simulator

TOKEN = "marker-token"
SPEED = 30
TROUBLE_S, RUN_S = 60, 150
SYMBOLS = ("AAPL", "SPY")


class _QuoteRun:
    """A poller's quote_run with a simulator that is in trouble for its first minute.

    :ivar published: second and symbol of each quote, or "" of a rejection.
    :ivar asked: second and symbol of each call, and of the one for the market's status.
    """

    def __init__(self, fault: str) -> None:
        self.published: list[tuple[float, str]] = []
        self.asked: list[tuple[float, str]] = []
        self._clock = SteadyClock(SPEED)
        self._start_ms = self._clock.now_ms()
        kind, _, options = fault.partition(":")
        asyncio.run(self._live(f"{kind}:at=0,for={TROUBLE_S},{options}"))

    def quote(self, symbol: str) -> Any:
        self.asked.append((self._now_s(), symbol))
        return self._api.quote(symbol)

    def market_status(self, exchange: str) -> Any:
        self.asked.append((self._now_s(), exchange))
        return self._api.market_status(exchange)

    def _now_s(self) -> float:
        return (self._clock.now_ms() - self._start_ms) / 1000

    def _publish(self, message: Quote | RejectionRecord) -> None:
        symbol = message.symbol if isinstance(message, Quote) else ""
        self.published.append((self._now_s(), symbol))

    async def _live(self, fault: str) -> None:
        simulator = Simulator(
            Exchange(1, 50, self._start_ms),
            self._clock,
            tokens=[TOKEN],
            seed=1,
            calls_per_minute=0,
            faults=[parse_fault(fault)],
        )
        async with await listen(simulator, "127.0.0.1", 0) as server:
            self._api = FinnhubRest(f"http://{address(server)}/api/v1", TOKEN)
            poller = QuotePoller(
                FinnhubQuotes(
                    RestCalls([(self, CallBudget())], self._clock, Random(1)),
                    "simulated",
                    self._clock,
                ),
                parse_quote,
                lambda: SYMBOLS,
                feed="simulated",
                source="src",
                clock=self._clock,
                publish=self._publish,
                last_trade_ms=lambda _: None,
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(RUN_S / SPEED):
                    await asyncio.gather(simulator.play(), poller.run())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(app.feeds.finnhub.rest, "TIMEOUT_S", 0.3)
    caplog.set_level(logging.WARNING)


@pytest.mark.parametrize(
    "fault",
    ["rest-refuse:status=500", "rest-refuse:status=503", "rest-cut:", "rest-slow:by=60"],
)
def test_what_may_pass_is_tried_three_times_and_quotes_come_back(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    quote_run = _QuoteRun(fault)
    assert [what for _, what in quote_run.asked[:ATTEMPTS]] == ["US"] * ATTEMPTS
    assert [what for _, what in quote_run.asked[ATTEMPTS : 2 * ATTEMPTS]] == ["AAPL"] * ATTEMPTS
    assert {symbol for _, symbol in quote_run.published} == set(SYMBOLS)
    assert min(at_s for at_s, _ in quote_run.published) > TROUBLE_S - 10
    assert caplog.text.count("it will be retried") == 1
    assert "skipped" not in caplog.text


def test_answers_that_are_no_quotes_cost_no_symbol(caplog: pytest.LogCaptureFixture) -> None:
    quote_run = _QuoteRun("rest-malform:")
    assert {symbol for at_s, symbol in quote_run.published if at_s < TROUBLE_S - 5} <= {""}
    assert {symbol for at_s, symbol in quote_run.published if at_s > TROUBLE_S + 5} == set(SYMBOLS)
    assert "skipped" not in caplog.text
    assert "unexpected error" not in caplog.text


def test_a_used_up_limit_is_waited_for() -> None:
    quote_run = _QuoteRun("rest-refuse:status=429")
    assert len([at_s for at_s, _ in quote_run.asked if at_s < TROUBLE_S]) <= 3
    assert {symbol for _, symbol in quote_run.published} == set(SYMBOLS)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_rejection_is_never_asked_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    quote_run = _QuoteRun(f"rest-refuse:status={status}")
    assert [what for _, what in quote_run.asked] == ["US", *SYMBOLS]
    assert quote_run.published == []
    assert caplog.text.count("It is skipped") == 2
