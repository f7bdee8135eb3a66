"""What the server asks of a market, whether it is made up or recorded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.market.quotes import QuoteBody


class Venue(Protocol):
    """A market that is played forward; time only rises."""

    at_ms: int
    """Up to here it has been played, UNIX ms."""

    def step(self, end_ms: int, symbols: Collection[str]) -> list[Print]:
        """The prints of `symbols` that are reported until `end_ms`."""
        ...

    def skip(self, now_ms: int) -> None:
        """Go on at `now_ms`, after a pause in which nothing was delivered."""
        ...

    def burst(self, count: int, symbols: Collection[str]) -> list[Print]:
        """`count` further prints of `symbols` at this moment; none where nobody listens."""
        ...

    def quote(self, symbol: str) -> QuoteBody:
        """The quote of `symbol` as of the last step; zeros and nulls when it is not listed."""
        ...
