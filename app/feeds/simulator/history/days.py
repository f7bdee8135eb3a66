"""Trades of earlier simulated days, which end where the simulated market begins: pure.

Each minute has a few prints that represent the many prints of the live market. Their sizes are
larger accordingly, so that volume and traded value are comparable with today's. All are regular
prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from random import Random

from app.contracts import Message, Trade, Trades, Watermark
from app.feeds.simulator.market.listing import ListedSymbol, listing
from app.feeds.simulator.market.market import (
    HOUR_MS,
    LOG_VOLATILITY_SPREAD,
    MINUTE_MS,
    VOLATILITY_DECAY_MS,
    SymbolMarket,
    activity_factor,
    intensity,
)
from app.feeds.simulator.market.orders import price_decimals
from app.feeds.simulator.market.prints import REGULAR

DAY_MS = 86_400_000
SOURCE = CONNECTION = "history"
MIN_PRINTS, MAX_PRINTS = 3, 5
"""Number of prints per minute."""
_SIZE_SPREAD = 0.3
_VOLATILITY_KEPT = math.exp(-MINUTE_MS / VOLATILITY_DECAY_MS)
_SAMPLE_MS = 2 * HOUR_MS
_SAMPLE_PER_S = 0.2


def earlier_days(
    symbols: Sequence[str],
    seed: int,
    rate: float,
    days: int,
    now_ms: int,
    session_ms: int = HOUR_MS,
) -> Iterator[Message]:
    """Yield the messages of the `days` UTC days before today, and of today until `now_ms`.

    Every minute of a symbol is one message of trades and one watermark, which reports the entire
    minute as covered. Prices reach the previous close of the simulated quotes at the last midnight,
    and at `now_ms` the price at which `Exchange` begins with the same seed.

    :param rate: mean number of trades per second over all symbols of the live market.
    :param now_ms: UNIX ms; the last minute is the one that ends by then.
    """
    listed = [found for symbol in symbols if (found := listing(seed, symbol))]
    all_weights = sum(symbol.weight for symbol in listed)
    end_ms = now_ms - now_ms % MINUTE_MS
    start_ms = end_ms - end_ms % DAY_MS - days * DAY_MS
    walks = [
        _Walk(symbol, seed, rate * symbol.weight / all_weights, end_ms, session_ms)
        for symbol in listed
    ]
    for minute in range(start_ms, end_ms, MINUTE_MS):
        for walk in walks:
            yield from walk.minute(minute)


class _Walk:
    """The minutes of one symbol: a random walk that is drawn to its targets.

    :param prints_per_s: mean rate of the live market.
    """

    def __init__(
        self, listed: ListedSymbol, seed: int, prints_per_s: float, end_ms: int, session_ms: int
    ) -> None:
        self._listed = listed
        self._session_ms = session_ms
        self._end_ms = end_ms
        self._midnight_ms = end_ms - end_ms % DAY_MS
        self._rng = Random(f"{seed}:history:{listed.symbol}")
        self._close = self._log_price = math.log(listed.price)
        self._present = math.log(SymbolMarket(seed, listed, end_ms, session_ms).price)
        self._log_volatility = self._rng.gauss(0.0, LOG_VOLATILITY_SPREAD)
        self._volume = prints_per_s * 60 * _mean_size(listed, seed, session_ms)
        self._conditions = [REGULAR] if listed.has_conditions else None
        self._decimals = price_decimals(listed.price, listed.has_conditions)
        self._minutes = 0

    def minute(self, start_ms: int) -> Iterator[Message]:
        """Yield the trades of a minute, and its watermark."""
        self._minutes += 1
        symbol, end_ms = self._listed.symbol, start_ms + MINUTE_MS
        trades = self._trades(start_ms)
        yield Trades(symbol, "simulated", SOURCE, CONNECTION, trades[-1].t, trades)
        yield Watermark(
            symbol,
            "simulated",
            SOURCE,
            received_at=end_ms,
            t=end_ms,
            minute_start=start_ms,
            covered_ms=MINUTE_MS,
        )

    def _trades(self, start_ms: int) -> list[Trade]:
        rng = self._rng
        spread = LOG_VOLATILITY_SPREAD * math.sqrt(1 - _VOLATILITY_KEPT**2)
        self._log_volatility = self._log_volatility * _VOLATILITY_KEPT + rng.gauss(0.0, spread)
        activity = activity_factor(self._log_volatility) * intensity(start_ms, self._session_ms)
        times = sorted(rng.sample(range(MINUTE_MS), rng.randint(MIN_PRINTS, MAX_PRINTS)))
        size = self._volume * activity / len(times)
        trades, before = [], 0
        for index, at in enumerate(times):
            self._move(start_ms + before, at - before)
            before = at
            p = round(Decimal(math.exp(self._log_price)), self._decimals)
            v = self._rounded(size * rng.lognormvariate(-(_SIZE_SPREAD**2) / 2, _SIZE_SPREAD))
            t = start_ms + at
            trades.append(Trade(t, p, v, self._conditions, self._minutes, index))
        self._move(start_ms + before, MINUTE_MS - before)
        return trades

    def _move(self, from_ms: int, ms: int) -> None:
        """Move the price on by `ms`, as a Brownian bridge to its next target."""
        to_close = from_ms < self._midnight_ms
        target, at_ms = (
            (self._close, self._midnight_ms) if to_close else (self._present, self._end_ms)
        )
        self._log_price += (target - self._log_price) * ms / (at_ms - from_ms)
        deviation = self._listed.volatility * math.exp(self._log_volatility)
        self._log_price += self._rng.gauss(0.0, deviation * math.sqrt(ms / MINUTE_MS))

    def _rounded(self, size: float) -> Decimal:
        if not self._listed.has_conditions:
            return max(round(Decimal(size), 5), Decimal("0.00001"))
        lot = 100 if size > 100 else 1
        return Decimal(max(round(size / lot) * lot, 1))


def _mean_size(listed: ListedSymbol, seed: int, session_ms: int) -> float:
    """Return the mean size of the live market's prints, from a sample."""
    sample = SymbolMarket(seed, listed, 0, session_ms).step(_SAMPLE_MS, _SAMPLE_PER_S)
    return sum(trade.v for trade in sample) / len(sample)
