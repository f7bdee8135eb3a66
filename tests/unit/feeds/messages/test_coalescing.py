"""Which frames may share a message."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import Message, Quote, RejectionRecord, Trade, Trades, Watermark
from app.feeds.messages.coalescing import MAX_TRADES, Coalescer
from app.feeds.messages.outgoing import Outgoing

NOW = 1_731_600_060_000


def _trades(at: int, symbol: str = "A", connection: str = "c-1", count: int = 1) -> Trades:
    trades = [Trade(NOW + at, Decimal(1), Decimal(1), frame=at, i=i) for i in range(count)]
    return Trades(symbol, "live", "src", connection, NOW + at, trades)


def _watermark(at: int, symbol: str = "A") -> Watermark:
    return Watermark(symbol, "live", "src", NOW + at, NOW + at)


def _quote(at: int, symbol: str = "A") -> Quote:
    decimal = Decimal(1)
    return Quote(
        symbol,
        "live",
        "src",
        NOW + at,
        decimal,
        decimal,
        decimal,
        decimal,
        decimal,
        decimal,
        decimal,
        1,
    )


def _coalesced(*messages: Outgoing) -> list[Outgoing]:
    coalescer = Coalescer()
    return [done for message in messages for done in coalescer.add(message)] + coalescer.take()


def _frames(messages: list[Outgoing]) -> list[Any]:
    return [
        [trade.t - NOW for trade in m.trades] if isinstance(m, Trades) else type(m).__name__
        for m in messages
    ]


def test_frames_of_one_second_share_a_message() -> None:
    (message,) = _coalesced(_trades(0), _trades(500), _trades(999))
    assert isinstance(message, Trades)
    assert (_frames([message]), message.received_at) == ([[0, 500, 999]], NOW + 999)


def test_the_next_second_is_another_message() -> None:
    assert _frames(_coalesced(_trades(999), _trades(1_000))) == [[999], [1_000]]


def test_nothing_is_coalesced_across_a_watermark_or_a_quote_of_the_symbol() -> None:
    assert _frames(_coalesced(_trades(0), _watermark(1), _trades(2), _quote(3), _trades(4))) == [
        [0],
        "Watermark",
        [2],
        "Quote",
        [4],
    ]


def test_a_watermark_of_another_symbol_does_not_part_frames() -> None:
    assert _frames(_coalesced(_trades(0), _watermark(1, "B"), _trades(2))) == ["Watermark", [0, 2]]


def test_connections_are_never_mixed() -> None:
    assert _frames(_coalesced(_trades(0), _trades(1, connection="c-2"))) == [[0], [1]]


def test_a_message_stays_small() -> None:
    first, second = _frames(_coalesced(_trades(0, count=MAX_TRADES - 1), _trades(1), _trades(2)))
    assert (len(first), len(second)) == (MAX_TRADES, 1)


def _any_message(numbers: tuple[int, int, str]) -> Outgoing:
    kind, at, symbol = numbers
    makers: list[Any] = [_trades, _trades, _trades, _watermark, _quote]
    message: Message = makers[kind](at * 100, symbol)
    return message


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.sampled_from("AB")), max_size=40)
)
def test_each_symbols_trades_and_messages_keep_their_order(
    numbers: list[tuple[int, int, str]],
) -> None:
    messages = [_any_message(number) for number in sorted(numbers, key=lambda number: number[1])]
    for symbol in "AB":
        before = _unfolded([m for m in messages if not _is_other(m, symbol)])
        after = _unfolded([m for m in _coalesced(*messages) if not _is_other(m, symbol)])
        assert after == before


def _is_other(message: Outgoing, symbol: str) -> bool:
    return isinstance(message, RejectionRecord) or message.symbol != symbol


def _unfolded(messages: list[Outgoing]) -> list[Any]:
    return [
        part
        for m in messages
        for part in ([t.frame for t in m.trades] if isinstance(m, Trades) else [type(m)])
    ]
