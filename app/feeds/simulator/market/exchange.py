"""All simulated markets together: share activity among symbols, and answer quotes."""

from __future__ import annotations

import math
from collections.abc import Collection
from random import Random

from app.feeds.simulator.market.listing import listing
from app.feeds.simulator.market.market import HOUR_MS, MINUTE_MS, SymbolMarket
from app.feeds.simulator.market.prints import Print
from app.feeds.simulator.market.quotes import UNKNOWN, QuoteBody

_MARKET_VOLATILITY_PER_MINUTE = 0.0003


class Exchange:
    """The markets of every symbol that was requested.

    The same seed, start, rate and sequence of calls give the same prints and quotes.

    :param rate: mean number of prints per second, shared by the symbols that trade.
    :param session_ms: the length of a trading session (`SymbolMarket`).
    """

    def __init__(self, seed: int, rate: float, now_ms: int, session_ms: int = HOUR_MS) -> None:
        self.at_ms = now_ms
        """The time up to which the market was simulated, in UNIX ms."""
        self._seed = seed
        self._rate = rate
        self._session_ms = session_ms
        self._markets: dict[str, SymbolMarket] = {}
        self._market_rng = Random(f"{seed}:tide")

    def step(self, end_ms: int, symbols: Collection[str]) -> list[Print]:
        """Return the prints of `symbols` reported until `end_ms`, in the order of their steps.

        A symbol that did not trade in the last step begins with this one.
        """
        markets = [market for market in map(self._market, symbols) if market]
        minutes = (end_ms - self.at_ms) / MINUTE_MS
        market_move = self._market_rng.gauss(
            0.0, _MARKET_VOLATILITY_PER_MINUTE * math.sqrt(minutes)
        )
        all_weights = sum(market.weight for market in markets)
        prints: list[Print] = []
        for market in markets:
            if market.at_ms < self.at_ms:
                market.skip(self.at_ms)
            prints += market.step(end_ms, self._rate * market.weight / all_weights, market_move)
        self.at_ms = end_ms
        return prints

    def burst(self, count: int, symbols: Collection[str]) -> list[Print]:
        """Return `count` more prints of `symbols` now; none if nothing is subscribed."""
        markets = [market for market in map(self._market, symbols) if market]
        prints: list[Print] = []
        while markets and len(prints) < count:
            weights = [market.weight for market in markets]
            for market in self._market_rng.choices(markets, weights, k=len(markets)):
                prints += market.order(self.at_ms - 1)
        return prints[:count]

    def skip(self, now_ms: int) -> None:
        """Continue at `now_ms`, after a pause in which nothing was delivered."""
        self.at_ms = now_ms

    def quote(self, symbol: str) -> QuoteBody:
        """Return the quote of `symbol` as of the last step; zeros and nulls if it is not listed."""
        market = self._market(symbol)
        if market is None:
            return UNKNOWN
        if market.at_ms < self.at_ms:
            market.skip(self.at_ms)
        return market.quote()

    def _market(self, symbol: str) -> SymbolMarket | None:
        if symbol not in self._markets:
            listed = listing(self._seed, symbol)
            if listed is None:
                return None
            self._markets[symbol] = SymbolMarket(self._seed, listed, self.at_ms, self._session_ms)
        return self._markets[symbol]
