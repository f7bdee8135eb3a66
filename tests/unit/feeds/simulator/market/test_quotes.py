"""The quote of a simulated symbol agrees with its prints."""

from __future__ import annotations

import msgspec

from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.prints import Print, codes
from app.feeds.simulator.market.quotes import DAY_MS, UNKNOWN, DayQuote

DAY_START_MS = 20_600 * DAY_MS
NOON_MS = DAY_START_MS + DAY_MS // 2


def trade(p: float, t: int = NOON_MS, *conditions: str, v: float = 100) -> Print:
    return Print(list(conditions) or None, p, "AAPL", t, v)


def quote_of(*prints: Print) -> DayQuote:
    quote = DayQuote(10.0, NOON_MS)
    for item in prints:
        quote.add(item)
    return quote


def test_before_the_first_trade_it_is_yesterdays_close_at_yesterdays_end() -> None:
    assert msgspec.to_builtins(quote_of().body()) == {
        "c": 10, "d": 0, "dp": 0, "h": 10, "l": 10, "o": 10, "pc": 10,
        "t": DAY_START_MS // 1000 - 1,
    }  # fmt: skip


def test_it_folds_the_day() -> None:
    quote = quote_of(trade(11.0), trade(12.5, NOON_MS + 1), trade(10.5, NOON_MS + 1_999)).body()
    assert msgspec.to_builtins(quote) == {
        "c": 10.5, "d": 0.5, "dp": 5, "h": 12.5, "l": 10.5, "o": 11.0, "pc": 10,
        "t": NOON_MS // 1000 + 1,
    }  # fmt: skip


def test_odd_lots_set_nothing() -> None:
    assert quote_of(trade(99.0, NOON_MS, "1", "12", v=5)).body() == quote_of().body()


def test_a_late_report_sets_high_and_low_alone() -> None:
    quote = quote_of(trade(11.0), trade(9.0, NOON_MS - 3_000, "1", "30")).body()
    assert (quote.c, quote.o, quote.l, quote.h) == (11.0, 11.0, 9.0, 11.0)


def test_an_older_trade_without_a_code_is_not_the_current_price() -> None:
    assert quote_of(trade(11.0), trade(9.0, NOON_MS - 3_000)).body().c == 11.0


def test_price_updates_of_size_0_set_nothing() -> None:
    assert quote_of(trade(99.0, v=0)).body() == quote_of().body()


def test_at_midnight_the_last_price_becomes_the_previous_close() -> None:
    tomorrow = DAY_START_MS + DAY_MS
    quote = quote_of(trade(11.0), trade(12.0, tomorrow), trade(99.0, tomorrow - 1)).body()
    assert (quote.pc, quote.o, quote.h, quote.l, quote.c) == (11.0, 12.0, 12.0, 12.0, 12.0)


def test_an_exchanges_quote_agrees_with_the_prints_it_sold() -> None:
    exchange = Exchange(seed=2, rate=50.0, now_ms=NOON_MS)
    last, high_low = [], []
    for end_ms in range(NOON_MS + 50, NOON_MS + 120_000, 50):
        for item in exchange.step(end_ms, ["AAPL"]):
            if "12" not in codes(item.c):
                high_low.append(item.p)
                if "30" not in codes(item.c):
                    last.append((item.t, len(last), item.p))
    quote = exchange.quote("AAPL")
    assert (quote.h, quote.l) == (max(high_low), min(high_low))
    assert (quote.o, quote.c) == (last[0][2], max(last)[2])
    assert quote.t == max(last)[0] // 1000
    assert quote.pc == 231


def test_a_symbol_that_no_one_subscribed_to_moves_too() -> None:
    exchange = Exchange(seed=2, rate=50.0, now_ms=NOON_MS)
    exchange.quote("IBM")
    exchange.step(NOON_MS + 60_000, ["AAPL"])
    quote = exchange.quote("IBM")
    assert quote.t == NOON_MS // 1000 + 60
    assert quote.c != quote.pc
    assert exchange.quote("IBM") == quote


def test_an_unknown_symbol_is_all_zeros_and_nulls() -> None:
    assert Exchange(seed=2, rate=50.0, now_ms=NOON_MS).quote("NOSUCHSYMBOL") is UNKNOWN
    assert (
        msgspec.json.encode(UNKNOWN) == b'{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}'
    )
