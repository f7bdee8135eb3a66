"""The prints that one order causes: their number, sizes, prices and sale conditions.

The shares are those of recorded feeds: 45 % of stock prints are odd lots with code 12; a sweep
causes several prints within one millisecond, many of them identical.
"""

from __future__ import annotations

import math
from random import Random

from msgspec import UNSET

from app.feeds.simulator.market.prints import (
    AVERAGE_PRICE,
    CONTINGENT,
    CROSS,
    DERIVATIVELY_PRICED,
    PRICE_VARIATION,
    REGULAR,
    SOLD_OUT_OF_SEQUENCE,
    SWEEP,
    TRADE_THROUGH_EXEMPT,
    Conditions,
    Print,
    as_number,
)
from app.market.conditions import ODD_LOT

ROUND_LOT = 100
ODD_LOT_SHARE = 0.45
SWEEP_SHARE = 0.15
IDENTICAL_SHARE = 0.6
"""Share of sweeps whose prints all have one size."""
SINGLE_SWEEP_ORDER_SHARE, EXEMPT_SHARE = 0.2, 0.05
"""Shares of single stock prints: those of a sweep order that was filled on one exchange, and those
that are exempt from the trade-through rule for another reason.
"""
OFF_EXCHANGE_SHARE = 0.12
UNCODED_SHARE = 0.15
"""Share of off-exchange prints of a round lot or more without codes (null, [] or no key)."""
RARE_SHARE = 0.06
"""Share of off-exchange prints with a condition of `RARE`."""
RARE = (AVERAGE_PRICE, PRICE_VARIATION, CROSS, DERIVATIVELY_PRICED, CONTINGENT)
PRICE_UPDATE_SHARE = 0.02
"""Share of crypto prints that are price updates with size 0."""
MEAN_FURTHER_PRINTS, MAX_PRINTS = 4.0, 40
MEAN_PRINTS_PER_ORDER = 1 - SWEEP_SHARE + SWEEP_SHARE * (1 + MEAN_FURTHER_PRINTS)
"""How many prints an order causes on average; the limit on a sweep hardly lowers it."""
_SPREAD = 0.0001
_CRYPTO_NOTIONAL = 400.0


def price_decimals(price: float, has_conditions: bool) -> int:
    """Return the decimals of the smallest price step: cents for stocks from one dollar on."""
    if has_conditions:
        return 2 if price >= 1 else 4
    return 2 if price >= 1000 else 4 if price >= 1 else 6


def execute(rng: Random, symbol: str, has_conditions: bool, middle: float, t: int) -> list[Print]:
    """Return the prints of an order at `t`, with `middle` between bid and ask."""
    if rng.random() < SWEEP_SHARE:
        return _sweep(rng, symbol, has_conditions, middle, t)
    if not has_conditions and rng.random() < PRICE_UPDATE_SHARE * MEAN_PRINTS_PER_ORDER:
        return [Print(None, _touch(rng, has_conditions, middle), symbol, t, 0)]
    size = _size(rng, has_conditions, middle)
    if has_conditions and rng.random() < OFF_EXCHANGE_SHARE:
        return [Print(_off_exchange(rng, size), _between(rng, middle), symbol, t, size)]
    conditions = _on_exchange(rng, size) if has_conditions else None
    return [Print(conditions, _touch(rng, has_conditions, middle), symbol, t, size)]


def reported_late(rng: Random, trade: Print) -> Print:
    """Return `trade` as a late report. Half of the late reports carry the code for it."""
    if isinstance(trade.c, list) and rng.random() < 0.5:
        trade.c = _listed(trade.v, REGULAR, SOLD_OUT_OF_SEQUENCE)
    return trade


def auction(
    rng: Random, symbol: str, middle: float, t: int, crossed: str, official: str
) -> list[Print]:
    """Return a stock's auction: a large print with condition `crossed`, then its official value.

    The official value resembles a trade but is not one.
    """
    price = as_number(max(round(middle, price_decimals(middle, True)), 0.0001))
    size = ROUND_LOT * max(10, int(math.exp(rng.gauss(5.5, 0.8))))
    return [Print([code], price, symbol, t, size) for code in (crossed, official)]


def _sweep(rng: Random, symbol: str, has_conditions: bool, middle: float, t: int) -> list[Print]:
    further = math.floor(rng.expovariate(math.log1p(1 / (MEAN_FURTHER_PRINTS - 1))))
    count = min(2 + further, MAX_PRINTS)
    price = _touch(rng, has_conditions, middle)
    size = _size(rng, has_conditions, middle)
    identical = rng.random() < IDENTICAL_SHARE
    prints = []
    for _ in range(count):
        if not identical:
            size = _size(rng, has_conditions, middle)
        conditions = _listed(size, REGULAR, SWEEP, TRADE_THROUGH_EXEMPT) if has_conditions else None
        prints.append(Print(conditions, price, symbol, t, size))
    return prints


def _touch(rng: Random, has_conditions: bool, middle: float) -> float:
    """Return the bid or the ask, on the grid of allowed prices."""
    decimals = price_decimals(middle, has_conditions)
    step = 10.0**-decimals
    half = max(middle * _SPREAD, step) / 2
    price = middle + half if rng.random() < 0.5 else middle - half
    return as_number(max(round(price, decimals), step))


def _between(rng: Random, middle: float) -> float:
    """Return a price within the spread, down to a hundredth of a cent."""
    half = max(middle * _SPREAD, 0.01) / 2
    return as_number(max(round(middle + rng.uniform(-half, half), 4), 0.0001))


def _size(rng: Random, has_conditions: bool, price: float) -> float:
    if not has_conditions:
        coins = math.exp(rng.gauss(math.log(_CRYPTO_NOTIONAL / price), 1.2))
        return as_number(max(round(coins, 5), 0.00001))
    draw = rng.random()
    if draw < ODD_LOT_SHARE:
        return min(1 + int(rng.expovariate(1 / 20)), ROUND_LOT - 1)
    if draw < 0.87:
        return ROUND_LOT
    if draw < 0.95:
        return ROUND_LOT * rng.randint(2, 9)
    return rng.randint(ROUND_LOT, 1_700) if draw < 0.99 else ROUND_LOT * rng.randint(20, 250)


def _off_exchange(rng: Random, size: float) -> Conditions:
    if size >= ROUND_LOT and rng.random() < UNCODED_SHARE:
        return rng.choice((None, [], UNSET))
    if rng.random() < RARE_SHARE:
        return _listed(size, REGULAR, rng.choice(RARE))
    return _listed(size, REGULAR)


def _on_exchange(rng: Random, size: float) -> Conditions:
    draw = rng.random()
    if draw < SINGLE_SWEEP_ORDER_SHARE:
        return _listed(size, REGULAR, SWEEP, TRADE_THROUGH_EXEMPT)
    if draw < SINGLE_SWEEP_ORDER_SHARE + EXEMPT_SHARE:
        return _listed(size, REGULAR, TRADE_THROUGH_EXEMPT)
    return _listed(size, REGULAR)


def _listed(size: float, *conditions: str) -> list[str]:
    return [*conditions, ODD_LOT] if size < ROUND_LOT else [*conditions]
