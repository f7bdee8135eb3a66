"""A REST API of given answers."""

from __future__ import annotations

from typing import Any

from app.feeds.clock import Clock


class FakeApi:
    """Answers one after the other, whatever it is asked; faults are raised.

    :ivar asked: the symbols and exchanges that it was asked for.
    :ivar asked_at_ms: when, by `clock`.
    """

    def __init__(self, *answers: Any, clock: Clock | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.asked_at_ms: list[int] = []
        self._clock = clock

    def quote(self, symbol: str) -> Any:
        return self._answer(symbol)

    def market_status(self, exchange: str) -> Any:
        return self._answer(exchange)

    def company_profile(self, symbol: str) -> Any:
        return self._answer(symbol)

    def _answer(self, about: str) -> Any:
        self.asked.append(about)
        if self._clock:
            self.asked_at_ms.append(self._clock.now_ms())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
