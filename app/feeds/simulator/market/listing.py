"""The symbols that the simulated exchanges list, and their properties, by seed and name alone."""

from __future__ import annotations

import math
import re
from random import Random
from typing import NamedTuple

from app.market.symbols import SymbolClass, is_symbol, symbol_class

KNOWN_PRICES = {
    "SPY": 592.0,
    "NVDA": 138.0,
    "TSLA": 262.0,
    "AAPL": 231.0,
    "QQQ": 511.0,
    "AMD": 152.0,
    "AMZN": 197.0,
    "MSFT": 428.0,
    "META": 577.0,
    "GOOGL": 171.0,
    "BINANCE:BTCUSDT": 67_400.0,
    "BAC": 44.6,
    "INTC": 23.4,
    "PLTR": 42.9,
    "F": 11.1,
    "GOOG": 172.5,
    "NFLX": 702.0,
    "JPM": 238.0,
    "AVGO": 178.0,
    "BINANCE:ETHUSDT": 2_640.0,
    "XOM": 119.0,
    "DIS": 96.5,
    "KO": 68.9,
    "WMT": 82.3,
    "IBM": 218.0,
    "JNJ": 160.0,
    "V": 289.0,
    "GE": 181.0,
    "UBER": 72.4,
    "COIN": 214.0,
    "AIG": 76.2,
    "BINANCE:SOLUSDT": 168.0,
    "BINANCE:DOGEUSDT": 0.162,
}
"""Plausible start prices; the busiest symbol first."""

_LISTED = (SymbolClass.US_STOCK, SymbolClass.CRYPTO, SymbolClass.FUTURE)
_STOCK = re.compile(r"[A-Z0-9]{1,6}([.\-][A-Z0-9]{1,2})?")
_BUSIEST_UNKNOWN_RANK, _QUIETEST_RANK = 12, 120
_STOCK_VOLATILITY, _CRYPTO_VOLATILITY = 0.0006, 0.0008


class ListedSymbol(NamedTuple):
    """The properties of a simulated instrument."""

    symbol: str
    has_conditions: bool
    """Whether its prints carry sale conditions (stocks do, crypto and futures do not)."""
    price: float
    """Yesterday's close, and the level to which the price is drawn back over days."""
    volatility: float
    """Standard deviation of the logarithm of the price over one minute, in calm times."""
    beta: float
    """How much it moves with the market as a whole."""
    weight: float
    """Share of all activity, to be divided by the sum over the symbols that trade."""


def listing(seed: int, symbol: str) -> ListedSymbol | None:
    """Return the instrument that `symbol` names; None if no exchange lists it.

    Listed are stock tickers of up to six letters or digits, with or without a share class
    (`BRK.B`), pairs of a known crypto venue (`BINANCE:BTCUSDT`), and the known futures.
    """
    kind = symbol_class(symbol) if is_symbol(symbol) else None
    if kind not in _LISTED or (kind is SymbolClass.US_STOCK and not _STOCK.fullmatch(symbol)):
        return None
    rng = Random(f"{seed}:listing:{symbol}")
    crypto = kind is SymbolClass.CRYPTO
    typical = _CRYPTO_VOLATILITY if crypto else _STOCK_VOLATILITY
    return ListedSymbol(
        symbol=symbol,
        has_conditions=kind is SymbolClass.US_STOCK,
        price=_start_price(rng, symbol),
        volatility=typical * math.exp(rng.gauss(0.0, 0.35)),
        beta=rng.uniform(0.6, 1.6),
        weight=1.0 / (_rank(rng, symbol) + 2),
    )


def _start_price(rng: Random, symbol: str) -> float:
    unknown = round(min(900.0, max(2.0, math.exp(rng.gauss(3.9, 0.9)))), 2)
    return KNOWN_PRICES.get(symbol, unknown)


def _rank(rng: Random, symbol: str) -> int:
    """Return the symbol's rank in a Zipf-like order of activity."""
    unknown = rng.randint(_BUSIEST_UNKNOWN_RANK, _QUIETEST_RANK)
    return list(KNOWN_PRICES).index(symbol) + 1 if symbol in KNOWN_PRICES else unknown
