"""Quotes of a server in trouble: the real poller and client against the simulator's REST faults.

Time is virtual; only a call that gets no answer ends by a timeout in real time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from app.contracts import Quote, RejectionRecord
from app.feeds.finnhub import rest
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import ATTEMPTS, FinnhubRest, RestCalls
from app.feeds.finnhub.vendor import FinnhubQuotes
from app.feeds.live.quotes import QuotePoller
from app.feeds.simulator.faults.kinds import parse_fault
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.server.command import address, listen
from app.feeds.simulator.server.server import Simulator
from tests import virtual_time
from tests.integration.feeds.simulated import START_MS, TOKEN
from tests.virtual_rest import in_thread

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
        self._clock = virtual_time.LoopClock(START_MS)
        kind, _, options = fault.partition(":")
        virtual_time.run(self._live(f"{kind}:at=0,for={TROUBLE_S},{options}"))

    def quote(self, symbol: str) -> Any:
        return self._asked(symbol).quote(symbol)

    def market_status(self, exchange: str) -> Any:
        return self._asked(exchange).market_status(exchange)

    def _asked(self, what: str) -> FinnhubRest:
        """Note a call, and return the API that makes it; in trouble it has little patience."""
        self.asked.append((self._now_s(), what))
        return self._hasty if self._now_s() < TROUBLE_S else self._api

    def _now_s(self) -> float:
        return self._loop.time()

    def _publish(self, message: Quote | RejectionRecord) -> None:
        symbol = message.symbol if isinstance(message, Quote) else ""
        self.published.append((self._now_s(), symbol))

    async def _live(self, fault: str) -> None:
        self._loop = asyncio.get_running_loop()
        simulator = Simulator(
            Exchange(1, 50, START_MS),
            self._clock,
            tokens=[TOKEN],
            seed=1,
            calls_per_minute=0,
            faults=[parse_fault(fault)],
        )
        async with await listen(simulator, "127.0.0.1", 0) as server:
            self._api = FinnhubRest(f"http://{address(server)}/api/v1", TOKEN)
            with pytest.MonkeyPatch.context() as patch:
                if fault.startswith("rest-slow"):  # no other call is to time out on a busy machine
                    patch.setattr(rest, "TIMEOUT_S", 0.3)
                self._hasty = FinnhubRest(f"http://{address(server)}/api/v1", TOKEN)
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
                async with asyncio.timeout(RUN_S):
                    await asyncio.gather(simulator.play(), poller.run())


@pytest.fixture(autouse=True)
def virtual_calls(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(rest, "_in_thread", in_thread)
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
