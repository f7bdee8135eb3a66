"""What replaying trades sends, and in which order."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.contracts import (
    Message,
    Trades,
    Watermark,
    encode,
)
from app.feeds.replay.messages import TRADES_A_MESSAGE, messages
from app.feeds.replay.trade_file import FileTrade
from app.message_parser import decode

T = 1_381_239_000_000
GRACE, LATENESS = 5_000, 900_000


def _trade(symbol: str, t: int, p: str = "1", c: list[str] | None = None) -> FileTrade:
    return FileTrade(symbol, T + t, Decimal(p), Decimal(1), c)


def _sent(*trades: FileTrade) -> list[Message]:
    return list(messages(trades, "replay", GRACE, LATENESS))


def _shape(sent: list[Message]) -> list[tuple[str, object]]:
    """Times of the trades of a message, or the time of a watermark, from T on."""
    return [
        (m.symbol, [trade.t - T for trade in m.trades])
        if isinstance(m, Trades)
        else (m.symbol, m.received_at - T)
        for m in sent
    ]


def test_a_seconds_trades_share_a_message_and_the_watermark_follows() -> None:
    sent = _sent(_trade("A", 0), _trade("A", 999), _trade("A", 1000))
    assert _shape(sent) == [("A", [0, 999]), ("A", 999), ("A", [1000]), ("A", 1000), ("A", 65_000)]
    assert [m.t - T for m in sent if isinstance(m, Watermark)] == [-4001, -4000, 60_000]


def test_received_at_is_the_largest_time_so_far() -> None:
    sent = _sent(_trade("A", 5000), _trade("A", 100), _trade("B", 200))
    assert [(m.symbol, m.received_at - T) for m in sent if isinstance(m, Trades)] == [
        ("A", 5000),
        ("B", 200),
    ]


def test_a_message_holds_ten_trades_at_most() -> None:
    sent = _sent(*[_trade("A", 0) for _ in range(21)])
    assert [len(m.trades) for m in sent if isinstance(m, Trades)] == [10, 10, 1]


def test_symbols_side_by_side_are_gathered_and_sent_when_a_second_is_over() -> None:
    sent = _sent(_trade("A", 0), _trade("B", 1), _trade("A", 2), _trade("B", 1500))
    assert _shape(sent)[:5] == [("A", [0, 2]), ("A", 2), ("B", [1]), ("B", 1), ("B", [1500])]


def test_equal_trades_are_counted_and_the_order_of_codes_does_not_matter() -> None:
    sent = _sent(
        _trade("A", 0, c=["1", "12"]),
        _trade("A", 0, c=["12", "1"]),
        _trade("A", 0, "1.0", c=["1", "12"]),
        _trade("A", 0, c=[]),
        _trade("A", 0),
        _trade("B", 0),
    )
    assert [trade.k for m in sent if isinstance(m, Trades) for trade in m.trades] == [
        0,
        1,
        2,
        0,
        1,
        0,
    ]


def test_equal_trades_are_discarded_after_the_allowed_lateness_and_the_grace() -> None:
    end = 60_000 + LATENESS + GRACE
    sent = _sent(
        _trade("A", 0), _trade("A", end), _trade("A", 0), _trade("A", end + 1), _trade("A", 0)
    )
    assert [t.k for m in sent if isinstance(m, Trades) for t in m.trades if t.t == T] == [0, 1, 0]


_trades = st.lists(
    st.builds(
        lambda s, t, p: _trade(s, t, p),
        st.sampled_from("AB"),
        st.integers(0, 5_000_000),
        st.sampled_from(["1", "2"]),
    ),
    max_size=60,
)


@given(_trades)
def test_every_trade_is_sent_once_in_its_symbols_order(trades: list[FileTrade]) -> None:
    sent = _sent(*trades)
    for symbol in "AB":
        own = [t for m in sent if isinstance(m, Trades) and m.symbol == symbol for t in m.trades]
        assert [(t.t, t.p) for t in own] == [(t.t, t.p) for t in trades if t.symbol == symbol]
    assert all(
        m.trades and len(m.trades) <= TRADES_A_MESSAGE for m in sent if isinstance(m, Trades)
    )


@given(_trades)
def test_what_is_sent_keeps_the_contract(trades: list[FileTrade]) -> None:
    watermark: Counter[str] = Counter()
    newest: Counter[str] = Counter()
    for m in _sent(*trades):
        assert decode(m.symbol.encode(), encode(m), "replay").message == m
        if isinstance(m, Trades):
            newest[m.symbol] = max(newest[m.symbol], *(trade.t for trade in m.trades))
            assert m.received_at == newest[m.symbol]
            assert {(trade.frame, trade.i) for trade in m.trades} == {
                (m.trades[0].frame, i) for i in range(len(m.trades))
            }
        elif isinstance(m, Watermark):
            assert m.t >= watermark[m.symbol]
            watermark[m.symbol] = m.t
    for symbol, t in newest.items():
        assert watermark[symbol] == (t // 60_000 + 1) * 60_000
