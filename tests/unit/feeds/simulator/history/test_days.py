"""Earlier simulated days: complete minutes that lead to the present market's first prices."""

from __future__ import annotations

from collections import defaultdict

import pytest

from app.contracts import Message, Trades, Watermark
from app.feeds.simulator.history.days import DAY_MS, earlier_days
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.market import HOUR_MS, MINUTE_MS

NOW = 20_000 * DAY_MS + 7 * HOUR_MS + 12_345
SYMBOLS = ("AAPL", "BINANCE:BTCUSDT")


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(earlier_days(SYMBOLS, seed=3, rate=20.0, days=1, now_ms=NOW))


def trades_of(messages: list[Message], symbol: str) -> list[Trades]:
    return [m for m in messages if isinstance(m, Trades) and m.symbol == symbol]


def test_every_minute_of_each_symbol_has_trades_and_is_covered(messages: list[Message]) -> None:
    minutes = range(NOW // DAY_MS * DAY_MS - DAY_MS, NOW - NOW % MINUTE_MS, MINUTE_MS)
    covered = defaultdict(list)
    for trades, watermark in zip(messages[::2], messages[1::2], strict=True):
        assert isinstance(trades, Trades)
        assert isinstance(watermark, Watermark)
        start = watermark.minute_start
        assert start is not None
        assert all(start <= trade.t < start + MINUTE_MS for trade in trades.trades)
        assert (watermark.t, watermark.covered_ms) == (start + MINUTE_MS, MINUTE_MS)
        assert trades.feed == watermark.feed == "simulated"
        covered[trades.symbol].append(start)
    assert covered == {symbol: list(minutes) for symbol in SYMBOLS}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prices_reach_the_previous_close_and_the_present_market(
    messages: list[Message], symbol: str
) -> None:
    exchange = Exchange(3, 20.0, NOW)
    trades = [trade for message in trades_of(messages, symbol) for trade in message.trades]
    yesterday = [trade for trade in trades if trade.t < NOW // DAY_MS * DAY_MS]
    assert float(yesterday[-1].p) == pytest.approx(exchange.quote(symbol).pc, rel=0.003)
    present = exchange.step(NOW + MINUTE_MS, SYMBOLS)
    first = next(trade.p for trade in present if trade.s == symbol)
    assert float(trades[-1].p) == pytest.approx(first, rel=0.003)


def test_volumes_are_those_of_the_live_market(messages: list[Message]) -> None:
    """An hour of the live market has about as much volume as an hour of history."""
    present = Exchange(3, 20.0, NOW).step(NOW + HOUR_MS, SYMBOLS)
    live = sum(trade.v for trade in present if trade.s == "AAPL")
    hours = (NOW % DAY_MS + DAY_MS) / HOUR_MS
    volume = sum(float(t.v) for m in trades_of(messages, "AAPL") for t in m.trades) / hours
    assert live / 2.5 < volume < 2.5 * live


def test_the_same_seed_makes_the_same_days(messages: list[Message]) -> None:
    again = earlier_days(SYMBOLS, seed=3, rate=20.0, days=1, now_ms=NOW)
    assert [next(again) for _ in range(200)] == messages[:200]
