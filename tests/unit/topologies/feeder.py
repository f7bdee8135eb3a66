"""Feed the candles of one symbol message by message."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from app.contracts import Candle, Quote, Trade, Trades, Watermark
from topologies.core.candle import Outcome, Rules, SymbolCandles

BASE = 1_381_239_000_000  # 2013-10-08 09:30 in New York
MINUTE = 60_000
GRACE, LATENESS = 5_000, 900_000


class Feeder:
    """Feeds one symbol and numbers the messages."""

    def __init__(self, price_rule="sip", symbol="SPY", feed="live"):
        rules = Rules(feed, price_rule, GRACE, LATENESS)
        self.candles = SymbolCandles(symbol, rules, Counter())
        self.symbol, self.feed, self.offset = symbol, feed, -1

    def send(self, message) -> Outcome:
        self.offset += 1
        return self.candles.apply(message, self.offset, None)

    def trades(self, *trades: Trade, received_at=None, source="a") -> Outcome:
        at = received_at if received_at is not None else max(t.t for t in trades)
        return self.send(Trades(self.symbol, self.feed, source, "c", at, list(trades)))

    def watermark(self, t, source="a", minute=None, covered=None, received_at=None) -> Outcome:
        at = received_at if received_at is not None else max(t, BASE)
        return self.send(Watermark(self.symbol, self.feed, source, at, t, minute, covered))

    def quote(self, t, price, received_at=None) -> Outcome:
        at = received_at if received_at is not None else t
        price = Decimal(price)
        return self.send(Quote(self.symbol, self.feed, "a", at, price, *[None] * 6, t // 1000))


def trade(ms, p="10", v="100", c=("1",), k=0):
    return Trade(BASE + ms, Decimal(p), Decimal(v), list(c) if c is not None else None, k=k)


def only(records: list[Candle]) -> Candle:
    (candle,) = records
    return candle
