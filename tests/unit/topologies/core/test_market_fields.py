"""Market fields are a function of the set of trades, all fields one of the topic."""

from __future__ import annotations

import copy
from collections import Counter
from functools import reduce
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import (
    Candle,
    Message,
    Quote,
    Trade,
    Trades,
    Watermark,
    encode,
)
from app.message_parser import decode
from tests.unit.topologies.disk import Disk
from tests.unit.topologies.examples import examples
from tests.unit.topologies.messages import BASE, MINUTE, messages, number_repeats, prices, trades
from topologies.backfill import Backfill
from topologies.core import state_codec
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.rollup import sums_of
from topologies.core.sums import CandleSums, merge
from topologies.core.window import MARKET_FIELDS, market_fields, newest

SYMBOLS = ("SPY", "BINANCE:BTCUSDT")
GRACE, LATENESS = 5_000, 900_000
LAST = BASE + 7 * MINUTE
"""No trade is younger."""
NOTHING_LATE = BASE + MINUTE + LATENESS - 1
"""A watermark up to here leaves every minute open to revisions."""


class Event(NamedTuple):
    """A trade or a quote (its price) of a symbol."""

    symbol: str
    t: int
    what: Trade | Quote


def trade_event(symbol: str, trade: Trade) -> Event:
    return Event(symbol, trade.t, trade)


def quote_event(symbol: str, second: int, price: object) -> Event:
    t = BASE // 1000 + second
    quote = Quote(symbol, "live", "q", LAST, price, *[None] * 6, t)
    return Event(symbol, t * 1000, quote)


symbols = st.sampled_from(SYMBOLS)
events = st.lists(
    st.one_of(
        st.builds(trade_event, symbols, trades),
        st.builds(trade_event, symbols, trades),
        st.builds(quote_event, symbols, st.sampled_from([0, 1, 59, 60, 90, 240]), prices),
    ),
    min_size=1,
    max_size=30,
)


def in_one_minute(trade: Trade) -> Trade:
    trade.t = BASE + trade.t % 7 * 9_999
    return trade


def numbered(events: list[Event]) -> list[Event]:
    """The events with each symbol's repeats numbered, as one connection numbers them."""
    for symbol in SYMBOLS:
        number_repeats([e.what for e in events if e.symbol == symbol and type(e.what) is Trade])
    return events


def shuffled(events: list[Event], random: Random) -> list[Event]:
    """`events` in any order in which those of a symbol and millisecond keep theirs."""
    positions = [(event.symbol, event.t) for event in events]
    random.shuffle(positions)
    queues = {place: iter([e for e in events if (e.symbol, e.t) == place]) for place in positions}
    return [next(queues[place]) for place in positions]


def repeated(events: list[Event], random: Random) -> list[Event]:
    """`events`, a third of them followed by any that came before."""
    out: list[Event] = []
    for event in events:
        out.append(event)
        if random.random() < 0.3:
            out.append(random.choice(out))
    return out


def sent(events: list[Event], random: Random) -> list[Message]:
    """`events` in messages of any size, receive time and source, with watermarks at any place."""
    out: list[Message] = []
    rest = list(events)
    while rest:
        symbol, _, what = rest[0]
        if isinstance(what, Quote):
            out.append(rest.pop(0).what)
        else:
            part: list[Trade] = []
            size = random.randint(1, 6)
            while rest and len(part) < size and rest[0].symbol == symbol:
                if isinstance(rest[0].what, Quote):
                    break
                part.append(rest.pop(0).what)
            received_at = random.randint(max(trade.t for trade in part) - 60_000, LAST)
            source, connection = random.choice("abc"), random.choice("xyz")
            out.append(Trades(symbol, "live", source, connection, received_at, part))
        if random.random() < 0.4:
            symbol, source = random.choice(SYMBOLS), random.choice("abc")
            t, minute = random.randint(BASE, NOTHING_LATE), BASE + random.randint(0, 6) * MINUTE
            out.append(Watermark(symbol, "live", source, t, t, minute, random.randint(0, MINUTE)))
    return copy.deepcopy(out)


def last_market_fields(messages: list[Message], rules: Rules) -> dict[str, str]:
    """Return the exact market fields of each candle's last revision once all are closed."""
    backfill = Backfill(rules)
    end = LAST + LATENESS
    closing = [
        Watermark(symbol, "live", source, end, end) for symbol in SYMBOLS for source in "abc"
    ]
    last = newest(backfill.records([*messages, *closing]))
    assert not backfill.rejections
    return {key: repr(market_fields(candle)) for key, candle in last.items()}


@pytest.mark.parametrize("price_rule", ["sip", "all"])
@examples(200)
@given(events.map(numbered), st.randoms(use_true_random=False))
def test_any_order_split_repeats_sources_lateness_and_watermarks_give_the_same_market_fields(
    price_rule, events, random
):
    rules = Rules("live", price_rule, GRACE, LATENESS)
    plain = [
        event.what
        if isinstance(event.what, Quote)
        else Trades(event.symbol, "live", "a", "x", LAST, [event.what])
        for event in events
    ]
    expected = last_market_fields(copy.deepcopy(plain), rules)
    disturbed = sent(repeated(shuffled(events, random), random), random)
    assert last_market_fields(disturbed, rules) == expected


MERGED = ("price_class", *(name for name in CandleSums.__struct_fields__ if name in MARKET_FIELDS))


def output_of(trades: list[Trade]) -> CandleSums:
    """The sums of the candle of `trades`, all of one minute."""
    candles = SymbolCandles("SPY", Rules("live", "sip", GRACE, LATENESS), Counter())
    candles.apply(Trades("SPY", "live", "a", "x", LAST, copy.deepcopy(trades)), 0, None)
    windows = list(candles.windows.values())
    return sums_of(windows[0]) if windows else CandleSums()


@examples(300)
@given(
    st.lists(st.builds(in_one_minute, trades), min_size=1, max_size=20).map(number_repeats),
    st.lists(st.integers(0, 20), min_size=1, max_size=4).map(sorted),
)
def test_merging_the_candles_of_a_split_gives_the_candle_of_the_full(trades, cuts):
    complete = output_of(trades)
    parts = [
        output_of(trades[first:last])
        for first, last in zip([0, *cuts], [*cuts, len(trades)], strict=True)
    ]
    from_the_left = reduce(merge, parts)
    from_the_right = reduce(lambda later, earlier: merge(earlier, later), reversed(parts))
    for name in MERGED:
        assert getattr(from_the_left, name) == getattr(complete, name)
        assert getattr(from_the_right, name) == getattr(complete, name)


def alone(symbol: str, topic: list[tuple[bytes, bytes]], restarts: list[bool]) -> list[Candle]:
    """The output of a worker with only `symbol`, saved and loaded at random."""
    rules, disk = Rules("live", "sip", GRACE, 90_000), Disk()
    candles = SymbolCandles(symbol, rules, Counter())
    made: list[Candle] = []
    for offset, (key, value) in enumerate(topic):
        if key != symbol.encode():
            continue
        outcome = candles.apply(decode(key, value, "live").message, offset, None)
        made += [*outcome.records, *outcome.partials]
        if restarts[offset % len(restarts)]:
            state_codec.save(candles, "incarnation", offset, disk)
            candles = state_codec.load(state_codec.head_of(disk), symbol, rules, Counter(), disk)
    return made


@examples(200)
@given(
    st.tuples(*(messages(symbol) for symbol in SYMBOLS)),
    st.randoms(use_true_random=False),
    st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_the_same_topic_gives_all_fields_of_all_records(drawn, random, restarts):
    queues = {symbol: iter(own) for symbol, own in zip(SYMBOLS, drawn, strict=True)}
    order = [symbol for symbol, own in zip(SYMBOLS, drawn, strict=True) for _ in own]
    random.shuffle(order)
    topic = [(symbol.encode(), encode(next(queues[symbol]))) for symbol in order]

    rules = Rules("live", "sip", GRACE, 90_000)
    together: dict[str, list[Candle]] = {symbol: [] for symbol in SYMBOLS}
    candles = {symbol: SymbolCandles(symbol, rules, Counter()) for symbol in SYMBOLS}
    for offset, (key, value) in enumerate(topic):
        outcome = candles[key.decode()].apply(decode(key, value, "live").message, offset, None)
        together[key.decode()] += [*outcome.records, *outcome.partials]
    for symbol, expected in together.items():
        made = alone(symbol, topic, restarts)
        assert list(map(encode, made)) == list(map(encode, expected))
