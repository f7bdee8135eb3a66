"""The market model: the prints of one symbol, step by step, reproducible from seed and name.

Prices are a random walk with clustered volatility, a common tide and a weak pull to the start
price, so that a demo of weeks stays plausible. Orders arrive at random, in waves that follow the
volatility and a U shape over the hour.
"""

from __future__ import annotations

import heapq
import math
from random import Random

from app.feeds.simulator.listing import Listing
from app.feeds.simulator.orders import MEAN_PRINTS_PER_ORDER, execute, price_decimals, reported_late
from app.feeds.simulator.prints import Print
from app.feeds.simulator.quotes import DayQuote, QuoteBody

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LATE_SHARE = 0.003
"""Of stock orders: those reported late."""
MEAN_LATENESS_MS, MOST_LATENESS_MS = 2_500, 15_000

_HEAT_SPREAD, _HEAT_LIFE_MS = 0.5, 3 * MINUTE_MS
_HEAT_TO_ACTIVITY = 0.6
_PULL_LIFE_MS = 2 * 24 * HOUR_MS


def hourly_intensity(t: int) -> float:
    """Activity at `t` (UNIX ms) against the mean of the hour: high at its ends, low within."""
    from_middle = 2 * (t % HOUR_MS) / HOUR_MS - 1
    return 0.75 + 0.75 * from_middle * from_middle


class SymbolMarket:
    """One symbol's market; time only goes forward, and only as far as it is told."""

    def __init__(self, seed: int, listed: Listing, now_ms: int) -> None:
        self.at_ms = now_ms
        """Up to here its prints have been made."""
        self._listed = listed
        self._rng = Random(f"{seed}:market:{listed.symbol}")
        self._anchor = math.log(listed.price)
        self._log_price = self._anchor + self._rng.gauss(0.0, 0.004)
        self._heat = self._rng.gauss(0.0, _HEAT_SPREAD)
        self._orders = 0
        self._held: list[tuple[int, int, list[Print]]] = []
        self._quote = DayQuote(listed.price, now_ms)

    @property
    def weight(self) -> float:
        """The symbol's share of all activity, to be divided by the sum over those that trade."""
        return self._listed.weight

    def step(self, end_ms: int, prints_per_s: float, tide: float = 0.0) -> list[Print]:
        """The prints reported from `at_ms` until `end_ms`, in order of their reports.

        :param prints_per_s: their mean over the hour.
        :param tide: what the market as a whole moved in this step, as a logarithm.
        """
        start_ms, self.at_ms = self.at_ms, end_ms
        self._warm(end_ms - start_ms)
        self._log_price += self._listed.beta * tide
        self._trade(start_ms, end_ms, prints_per_s)
        reported = []
        while self._held and self._held[0][0] < end_ms:
            reported += heapq.heappop(self._held)[2]
        for trade in reported:
            self._quote.see(trade)
        return reported

    def order(self, t: int) -> list[Print]:
        """The prints of one further order at `t`, reported at once."""
        prints = execute(self._rng, self._listed.symbol, self._listed.coded, self.price, t)
        for trade in prints:
            self._quote.see(trade)
        return prints

    def skip(self, now_ms: int) -> None:
        """Let the time until `now_ms` pass unseen: the price moves on, the prints go to nobody."""
        elapsed_ms, self.at_ms = now_ms - self.at_ms, now_ms
        self._held.clear()
        self._warm(elapsed_ms)
        self._move(elapsed_ms)
        price = round(self.price, price_decimals(self.price, self._listed.coded))
        self._quote.see(Print(None, price, self._listed.symbol, now_ms, 1))

    def quote(self) -> QuoteBody:
        """The day so far, as of what has been reported."""
        return self._quote.body()

    @property
    def price(self) -> float:
        """The middle of bid and ask."""
        return math.exp(self._log_price)

    def _trade(self, start_ms: int, end_ms: int, prints_per_s: float) -> None:
        """Hold the prints of the orders of this step until their report is due."""
        waves = math.exp(
            _HEAT_TO_ACTIVITY * self._heat - (_HEAT_TO_ACTIVITY * _HEAT_SPREAD) ** 2 / 2
        )
        prints_per_ms = prints_per_s / 1000 * hourly_intensity(start_ms) * waves
        if prints_per_ms <= 0:
            return
        orders_per_ms = prints_per_ms / MEAN_PRINTS_PER_ORDER
        before, t = float(start_ms), start_ms + self._rng.expovariate(orders_per_ms)
        while t < end_ms:
            self._move(t - before)
            self._order(int(t))
            before, t = t, t + self._rng.expovariate(orders_per_ms)
        self._move(end_ms - before)

    def _order(self, t: int) -> None:
        listed, rng = self._listed, self._rng
        prints = execute(rng, listed.symbol, listed.coded, self.price, t)
        due_ms = t
        if listed.coded and rng.random() < LATE_SHARE:
            due_ms += 1 + min(int(rng.expovariate(1 / MEAN_LATENESS_MS)), MOST_LATENESS_MS)
            prints = [reported_late(rng, trade) for trade in prints]
        self._orders += 1
        heapq.heappush(self._held, (due_ms, self._orders, prints))

    def _warm(self, elapsed_ms: float) -> None:
        """Volatility wanders about its mean: an Ornstein-Uhlenbeck process, stepped exactly."""
        kept = math.exp(-elapsed_ms / _HEAT_LIFE_MS)
        spread = _HEAT_SPREAD * math.sqrt(1 - kept * kept)
        self._heat = self._heat * kept + self._rng.gauss(0.0, spread)
        pull = 1 - math.exp(-elapsed_ms / _PULL_LIFE_MS)
        self._log_price += (self._anchor - self._log_price) * pull

    def _move(self, elapsed_ms: float) -> None:
        minutes = max(elapsed_ms, 0.0) / MINUTE_MS
        deviation = self._listed.volatility * math.exp(self._heat) * math.sqrt(minutes)
        self._log_price += self._rng.gauss(0.0, deviation)
