"""Which kind of instrument a symbol names, read off the symbol itself.

Finnhub's symbols carry the venue as a prefix (`BINANCE:BTCUSDT`); a bare symbol is a US stock. The
futures of COMEX, which trade around the clock, are known by their root and contract month.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache


class SymbolClass(StrEnum):
    """Classes of instruments that differ in their trading sessions."""

    US_STOCK = "us_stock"
    CRYPTO = "crypto"
    FUTURE = "future"


CRYPTO_VENUES = frozenset(
    {
        "BINANCE",
        "BINANCEUS",
        "BITFINEX",
        "BITMEX",
        "BITSTAMP",
        "BYBIT",
        "COINBASE",
        "GEMINI",
        "HITBTC",
        "HUOBI",
        "KRAKEN",
        "KUCOIN",
        "OKEX",
        "OKX",
        "POLONIEX",
    }
)
FUTURES_ROOTS = frozenset({"GC"})

_FUTURE = re.compile(r"([A-Z]{1,3})(\d{4})(0[1-9]|1[0-2])")
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.:/_\- ]{0,47}")


@cache
def symbol_class(symbol: str) -> SymbolClass:
    """The class of `symbol`; a bare symbol that is no known future is a US stock."""
    venue, colon, _ = symbol.partition(":")
    if colon:
        return SymbolClass.CRYPTO if venue in CRYPTO_VENUES else SymbolClass.US_STOCK
    future = _FUTURE.fullmatch(symbol)
    if future and future[1] in FUTURES_ROOTS:
        return SymbolClass.FUTURE
    return SymbolClass.US_STOCK


def is_symbol(text: str) -> bool:
    """Whether `text` can be a symbol at all: 1 to 48 capital letters, digits and `.:/_- `."""
    return _SYMBOL.fullmatch(text) is not None
