"""What a symbol is, and which kind of instrument it names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.market.symbols import SymbolClass, is_symbol, symbol_class


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("AAPL", SymbolClass.US_STOCK),
        ("BRK.B", SymbolClass.US_STOCK),
        ("BINANCE:BTCUSDT", SymbolClass.CRYPTO),
        ("COINBASE:BTC-USD", SymbolClass.CRYPTO),
        ("OANDA:EUR_USD", SymbolClass.FOREX),
        ("IC MARKETS:1", SymbolClass.FOREX),
        ("NEWVENUE:XYZ", SymbolClass.OTHER),
        ("GC201312", SymbolClass.FUTURE),
        ("GC201313", SymbolClass.US_STOCK),
        ("GC=F", SymbolClass.OTHER),
        ("^GSPC", SymbolClass.OTHER),
    ],
)
def test_the_class_of_a_symbol_follows_from_its_name(symbol, kind):
    assert symbol_class(symbol) is kind


@pytest.mark.parametrize(
    "symbol",
    [
        "AAPL",
        "F",
        "BRK.B",
        "BF-B",
        "0700.HK",
        "M&M.NS",
        "ACHR+",
        "BINANCE:BTCUSDT",
        "COINBASE:BTC-USD",
        "OANDA:EUR_USD",
        "FXCM:EUR/USD",
        "IC MARKETS:1",
        "^GSPC",
        "GC=F",
        "A" * 48,
    ],
)
def test_symbols_of_stocks_crypto_currencies_indices_and_futures_are_symbols(symbol):
    assert is_symbol(symbol)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aapl",
        "A<b>",
        "A" * 49,
        "\x00",
        "A\n",
        "A\x7f",
        " A",
        "A ",
        "A  B",
        "A\u00a0B",
        "-A",
        "A|1m",
        "A,B",
        "A#B",
        "O'NEIL",
        'A"B',
        "A\\B",
        "%",
        "{{ 1 }}",
        "$1",
        "'; drop table x; --",
        "\u00c4",
        "\uff21",
    ],
)
def test_not_every_text_is_a_symbol(text):
    assert not is_symbol(text)


@settings(deadline=None)
@given(st.text() | st.text("AZ09.:/_-=&+^ '", max_size=60))
def test_a_symbol_is_unchanged_wherever_it_is_written(text):
    if is_symbol(text):
        assert text.isascii()
        assert text.isprintable()
        assert text == text.strip() == text.upper()
        assert 1 <= len(text) <= 48
        assert not set(text) & set("|,#'\"\\`<>%{}$;?*")
        assert "  " not in text
