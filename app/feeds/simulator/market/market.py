"""The market model: the prints of one symbol, step by step, reproducible from seed and name.

Prices are a random walk with clustered volatility, a common market factor and a weak pull to the
start price, so that a demo of weeks stays plausible. Orders arrive at random, in waves that follow
the volatility and the U shape of a trading session. Stocks have auctions at both ends of a session.
As the market never closes, one session follows the other.
"""

from __future__ import annotations

import heapq
import math
from random import Random

from app.feeds.simulator.market.listing import ListedSymbol
from app.feeds.simulator.market.orders import (
    MEAN_PRINTS_PER_ORDER,
    auction,
    execute,
    price_decimals,
    reported_late,
)
from app.feeds.simulator.market.prints import (
    CLOSING,
    OFFICIAL_CLOSE,
    OFFICIAL_OPEN,
    OPENING,
    Print,
)
from app.feeds.simulator.market.quotes import DayQuote, QuoteBody

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LATE_SHARE = 0.003
"""Share of stock orders that are reported late."""
MEAN_LATENESS_MS, MAX_LATENESS_MS = 2_500, 15_000

LOG_VOLATILITY_SPREAD, VOLATILITY_DECAY_MS = 0.5, 3 * MINUTE_MS
_VOLATILITY_TO_ACTIVITY = 0.6
_PULL_DECAY_MS = 2 * 24 * HOUR_MS
_AUCTION_MS = 400
"""Time between the ends of a session and its auctions."""


def intensity(t: int, session_ms: int) -> float:
    """Return the activity at `t` (UNIX ms) relative to the session's mean: highest at its ends."""
    from_middle = 2 * (t % session_ms) / session_ms - 1
    return 0.75 + 0.75 * from_middle * from_middle


class SymbolMarket:
    """One symbol's market. Its time only moves forward.

    :param session_ms: the length of a trading session; sessions begin at multiples of it.
    """

    def __init__(
        self, seed: int, listed: ListedSymbol, now_ms: int, session_ms: int = HOUR_MS
    ) -> None:
        self.at_ms = now_ms
        """The time up to which its prints were created."""
        self._listed = listed
        self._session_ms = session_ms
        self._rng = Random(f"{seed}:market:{listed.symbol}")
        self._anchor = math.log(listed.price)
        self._log_price = self._anchor + self._rng.gauss(0.0, 0.004)
        self._moved_ms = float(now_ms)
        self._log_volatility = self._rng.gauss(0.0, LOG_VOLATILITY_SPREAD)
        self._activity = activity_factor(self._log_volatility)
        self._orders_until_next = self._rng.expovariate(1.0)
        """How many orders are expected until the next one arrives."""
        self._orders = 0
        self._unreported: list[tuple[int, int, list[Print]]] = []
        self._auction_ms = self._next_auction(now_ms)
        self._quote = DayQuote(listed.price, now_ms)

    @property
    def weight(self) -> float:
        """The symbol's share of all activity, to be divided by the sum over those that trade."""
        return self._listed.weight

    def step(self, end_ms: int, prints_per_s: float, market_move: float = 0.0) -> list[Print]:
        """Return the prints reported from `at_ms` until `end_ms`, in the order of their reports.

        :param prints_per_s: their mean rate over a session.
        :param market_move: how the market as a whole moved in this step, as a logarithm.
        """
        start_ms, self.at_ms = self.at_ms, end_ms
        self._log_price += self._listed.beta * market_move
        self._trade(start_ms, end_ms, prints_per_s)
        if end_ms > self._auction_ms:
            self._hold_auction(end_ms)
        return self._reported(end_ms) if self._unreported else []

    def order(self, t: int) -> list[Print]:
        """Return the prints of one more order at `t`, reported at once."""
        prints = execute(self._rng, self._listed.symbol, self._listed.has_conditions, self.price, t)
        for trade in prints:
            self._quote.add(trade)
        return prints

    def skip(self, now_ms: int) -> None:
        """Skip the time until `now_ms`: the price moves on, and the prints are discarded."""
        self.at_ms = now_ms
        self._unreported.clear()
        self._auction_ms = self._next_auction(now_ms)
        self._move_to(now_ms)
        price = round(self.price, price_decimals(self.price, self._listed.has_conditions))
        self._quote.add(Print(None, price, self._listed.symbol, now_ms, 1))

    def quote(self) -> QuoteBody:
        """Return the quote of the day, as of the reported prints."""
        return self._quote.body()

    @property
    def price(self) -> float:
        """The middle of bid and ask, as of the last order."""
        return math.exp(self._log_price)

    def _reported(self, end_ms: int) -> list[Print]:
        reported = []
        while self._unreported and self._unreported[0][0] < end_ms:
            reported += heapq.heappop(self._unreported)[2]
        for trade in reported:
            self._quote.add(trade)
        return reported

    def _trade(self, start_ms: int, end_ms: int, prints_per_s: float) -> None:
        """Queue the prints of this step's orders until their reports are due."""
        t, left_ms = float(start_ms), float(end_ms - start_ms)
        calm = prints_per_s / 1000 / MEAN_PRINTS_PER_ORDER * intensity(start_ms, self._session_ms)
        while (orders_per_ms := calm * self._activity) * left_ms > self._orders_until_next:
            waited_ms = self._orders_until_next / orders_per_ms
            t, left_ms = t + waited_ms, left_ms - waited_ms
            self._move_to(t)
            self._order(int(t))
            self._orders_until_next = self._rng.expovariate(1.0)
        self._orders_until_next -= orders_per_ms * left_ms

    def _order(self, t: int) -> None:
        listed, rng = self._listed, self._rng
        prints = execute(rng, listed.symbol, listed.has_conditions, self.price, t)
        due_ms = t
        if listed.has_conditions and rng.random() < LATE_SHARE:
            due_ms += 1 + min(int(rng.expovariate(1 / MEAN_LATENESS_MS)), MAX_LATENESS_MS)
            prints = [reported_late(rng, trade) for trade in prints]
        self._hold(due_ms, prints)

    def _hold(self, due_ms: int, prints: list[Print]) -> None:
        self._orders += 1
        heapq.heappush(self._unreported, (due_ms, self._orders, prints))

    def _next_auction(self, after_ms: int) -> int:
        """Return the next auction: shortly after a session begins, or shortly before it ends."""
        start_ms = after_ms - after_ms % self._session_ms
        opening, closing = start_ms + _AUCTION_MS, start_ms + self._session_ms - _AUCTION_MS
        return next(t for t in (opening, closing, opening + self._session_ms) if t > after_ms)

    def _hold_auction(self, end_ms: int) -> None:
        t, self._auction_ms = self._auction_ms, self._next_auction(end_ms)
        if not self._listed.has_conditions:
            return
        opens = t % self._session_ms < self._session_ms / 2
        conditions = (OPENING, OFFICIAL_OPEN) if opens else (CLOSING, OFFICIAL_CLOSE)
        self._move_to(t)
        self._hold(t, auction(self._rng, self._listed.symbol, self.price, t, *conditions))

    def _move_to(self, t: float) -> None:
        """Advance price and volatility until `t`.

        The volatility is an Ornstein-Uhlenbeck process, stepped exactly.
        """
        elapsed_ms = max(t - self._moved_ms, 0.0)
        self._moved_ms = max(t, self._moved_ms)
        kept = math.exp(-elapsed_ms / VOLATILITY_DECAY_MS)
        spread = LOG_VOLATILITY_SPREAD * math.sqrt(1 - kept * kept)
        self._log_volatility = self._log_volatility * kept + self._rng.gauss(0.0, spread)
        self._activity = activity_factor(self._log_volatility)
        pull = 1 - math.exp(-elapsed_ms / _PULL_DECAY_MS)
        self._log_price += (self._anchor - self._log_price) * pull
        deviation = self._listed.volatility * math.exp(self._log_volatility)
        self._log_price += self._rng.gauss(0.0, deviation * math.sqrt(elapsed_ms / MINUTE_MS))


def activity_factor(log_volatility: float) -> float:
    """Return the factor on activity for a given volatility; 1 on average."""
    return math.exp(
        _VOLATILITY_TO_ACTIVITY * log_volatility
        - (_VOLATILITY_TO_ACTIVITY * LOG_VOLATILITY_SPREAD) ** 2 / 2
    )
