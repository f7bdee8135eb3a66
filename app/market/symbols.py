"""Which kind of instrument a symbol names, read off the symbol itself.

Finnhub's free feed has US stocks, currencies and crypto. Its symbols of the latter two carry the
venue as a prefix (`OANDA:EUR_USD`, `IC MARKETS:1`, `BINANCE:BTCUSDT`); a bare symbol is a US stock.
The futures of COMEX, which trade around the clock, are known by their root and contract month.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class SymbolClass(StrEnum):
    """Classes of instruments that differ in their trading sessions."""

    US_STOCK = "us_stock"
    CRYPTO = "crypto"
    FOREX = "forex"
    FUTURE = "future"
    OTHER = "other"


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
FOREX_VENUES = frozenset(
    {
        "FOREX.COM",
        "FXCM",
        "FXPIG",
        "FXPRO",
        "IC MARKETS",
        "ICMTRADER",
        "OANDA",
        "OCTAFX",
        "PEPPERSTONE",
    }
)
FUTURES_ROOTS = frozenset({"GC"})

_FUTURE = re.compile(r"([A-Z]{1,3})(\d{4})(0[1-9]|1[0-2])")
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.:/_\- ]{0,47}")


@lru_cache(maxsize=65_536)
def symbol_class(symbol: str) -> SymbolClass:
    """The class of `symbol`; a bare symbol that is no known future is a US stock.

    What carries a venue that is not known is `OTHER`: whatever it is, no US stock is named so.
    """
    venue, colon, _ = symbol.partition(":")
    if colon:
        if venue in CRYPTO_VENUES:
            return SymbolClass.CRYPTO
        return SymbolClass.FOREX if venue in FOREX_VENUES else SymbolClass.OTHER
    future = _FUTURE.fullmatch(symbol)
    if future and future[1] in FUTURES_ROOTS:
        return SymbolClass.FUTURE
    return SymbolClass.US_STOCK


def is_symbol(text: str) -> bool:
    """Whether `text` can be a symbol at all: 1 to 48 capital letters, digits and `.:/_- `."""
    return _SYMBOL.fullmatch(text) is not None
