"""A REST API of given answers."""

from __future__ import annotations

from typing import Any


class FakeApi:
    """Answers one after the other, whatever it is asked; faults are raised.

    :ivar asked: the symbols and exchanges that it was asked for.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def quote(self, symbol: str) -> Any:
        return self._answer(symbol)

    def market_status(self, exchange: str) -> Any:
        return self._answer(exchange)

    def _answer(self, about: str) -> Any:
        self.asked.append(about)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
