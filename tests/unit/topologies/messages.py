"""Strategies for messages of one symbol: a few minutes, few prices, every kind of trouble."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import strategies as st

from app.contracts import Message, Quote, Trade, Trades, Watermark

BASE = 1_700_000_040_000  # a full minute, 17:14 in New York: post-market
MINUTE = 60_000

times = st.one_of(
    st.integers(0, 6 * MINUTE),
    st.sampled_from([0, 1, MINUTE - 1, MINUTE, MINUTE + 1, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE]),
    st.sampled_from([149_999, 150_000]),  # end + allowed lateness, where that is 90 s
).map(lambda ms: BASE + ms)
prices = st.sampled_from(["1", "1.5", "2", "100.01", "99.999999999999"]).map(Decimal)
sizes = st.sampled_from(["0", "1", "2", "0.000000000001", "100"]).map(Decimal)
COMBINATIONS = "1 12 1,12 12,1 30 24 24,12 16 39 999 8,41 3 11"
conditions = st.sampled_from([None, [], *(codes.split(",") for codes in COMBINATIONS.split())])
trades = st.builds(Trade, t=times, p=prices, v=sizes, c=conditions, k=st.sampled_from([0, 0, 0, 1]))


def number_repeats(trades: list[Trade]) -> list[Trade]:
    """Give each repeated print its own k, as a connection does."""
    seen: Counter = Counter()
    for trade in trades:
        key = (trade.t, trade.p, trade.v, tuple(sorted(trade.c or [])))
        trade.k = seen[key]
        seen[key] += 1
    return trades


def trade_messages(symbol: str) -> st.SearchStrategy[Trades]:
    def build(received_at: int, trades: list[Trade], source: str) -> Trades:
        return Trades(symbol, "live", source, "c", received_at, trades)

    return st.builds(
        build, times, st.lists(trades, min_size=1, max_size=4), st.sampled_from(["a", "b"])
    )


def quote_messages(symbol: str) -> st.SearchStrategy[Quote]:
    def build(received_at: int, price: Decimal, t: int) -> Quote:
        return Quote(
            symbol, "live", "a", received_at, price, None, None, None, None, None, None, t // 1000
        )

    return st.builds(build, times, st.one_of(prices, st.just(Decimal(0))), times)


def watermark_messages(symbol: str) -> st.SearchStrategy[Watermark]:
    def build(
        received_at: int, t: int, source: str, minute: int, covered: int | None, gap: int | None
    ) -> Watermark:
        if covered is None:
            return Watermark(symbol, "live", source, received_at, t)
        start = BASE + minute * MINUTE
        if gap is None:
            return Watermark(symbol, "live", source, received_at, t, start, covered)
        since = BASE + min(gap, minute) * MINUTE
        return Watermark(symbol, "live", source, received_at, t, start, 0, since)

    return st.builds(
        build,
        times,
        times,
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 5),
        st.sampled_from([None, 0, 1000, 60_000]),
        st.sampled_from([None, None, None, 0, 1, 3]),
    )


def messages(symbol: str = "SPY") -> st.SearchStrategy[list[Message]]:
    """Up to 25 messages of `symbol` in their order in the topic."""
    return st.lists(
        st.one_of(
            trade_messages(symbol),
            trade_messages(symbol),
            trade_messages(symbol),
            quote_messages(symbol),
            watermark_messages(symbol),
        ),
        max_size=25,
    )
