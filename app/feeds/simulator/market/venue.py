"""The interface of a market to the server, whether simulated or recorded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.market.quotes import QuoteBody


class Venue(Protocol):
    """A market that is played forward; its time only increases."""

    at_ms: int
    """The time up to which it was played, in UNIX ms."""

    def step(self, end_ms: int, symbols: Collection[str]) -> list[Print]:
        """Return the prints of `symbols` that are reported until `end_ms`."""
        ...

    def skip(self, now_ms: int) -> None:
        """Continue at `now_ms`, after a pause in which nothing was delivered."""
        ...

    def burst(self, count: int, symbols: Collection[str]) -> list[Print]:
        """Return `count` more prints of `symbols` now; none if nothing is subscribed."""
        ...

    def quote(self, symbol: str) -> QuoteBody:
        """Return the quote of `symbol` as of the last step; zeros and nulls if it is not listed."""
        ...
