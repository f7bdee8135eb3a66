"""Symbols: which texts are valid, and the class of instrument a symbol names.

Symbols appear in keys, file names, URLs, lists and SQL. The rule excludes characters with a special
meaning there (quotes, backslashes, commas, `|`, `#`, `%`, control characters), leading, trailing
and repeated blanks, and lower-case letters, so that no two symbols differ only in case. Valid
examples are `AAPL`, `BRK.B`, `0700.HK`, `M&M.NS`, `BINANCE:BTCUSDT`, `FXCM:EUR/USD`,
`IC MARKETS:1`, `^GSPC` and `GC=F`.

Finnhub's free feed has US stocks, currencies and crypto. Symbols of the latter two have their venue
as a prefix (`OANDA:EUR_USD`, `IC MARKETS:1`, `BINANCE:BTCUSDT`); a symbol without a prefix is a US
stock. Futures of COMEX, which trade around the clock, are recognized by root and contract month.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class SymbolClass(StrEnum):
    """Classes of instruments, which determine sessions and which symbols a gauge adds up."""

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

MAX_SYMBOL_LENGTH = 48
SYMBOL_PATTERN = r"[A-Z0-9^][A-Z0-9.:/_=&+^-]*(?: [A-Z0-9.:/_=&+^-]+)*"
"""Regular expression of a symbol, without its maximum length; also valid in JSON Schema."""
SYMBOL_RULE = (
    f"1 to {MAX_SYMBOL_LENGTH} capital letters, digits and .:/_-=&+^, blanks one at a time and "
    "between these"
)
"""The rule in words, for error messages."""
_SYMBOL = re.compile(SYMBOL_PATTERN)


@lru_cache(maxsize=65_536)
def symbol_class(symbol: str) -> SymbolClass:
    """Return the class of `symbol`.

    Symbols without a venue are US stocks, unless they name a known future. Symbols with an unknown
    venue, indices (`^GSPC`) and symbols with `=` (`GC=F`) are `OTHER`, because no US stock has such
    a name.
    """
    venue, colon, _ = symbol.partition(":")
    if colon:
        if venue in CRYPTO_VENUES:
            return SymbolClass.CRYPTO
        return SymbolClass.FOREX if venue in FOREX_VENUES else SymbolClass.OTHER
    future = _FUTURE.fullmatch(symbol)
    if future and future[1] in FUTURES_ROOTS:
        return SymbolClass.FUTURE
    if symbol.startswith("^") or "=" in symbol:
        return SymbolClass.OTHER
    return SymbolClass.US_STOCK


def is_symbol(text: str) -> bool:
    """Return whether `text` is a valid symbol by `SYMBOL_RULE`."""
    return len(text) <= MAX_SYMBOL_LENGTH and _SYMBOL.fullmatch(text) is not None
