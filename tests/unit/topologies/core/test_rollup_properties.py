"""Rollups against a model that merges the newest records of all minutes after every message."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Candle, Message, Quote, Trades, Watermark
from app.exact import canonical
from app.market.sessions import NEW_YORK
from tests.unit.topologies.disk import Disk
from tests.unit.topologies.examples import examples
from tests.unit.topologies.messages import BASE, MINUTE, messages
from tests.unit.topologies.naive import NaiveCandles
from tests.unit.topologies.naive_rollups import NaiveRollups, RollupKey
from topologies.core import state_codec
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.window import newest

HOUR = 60 * MINUTE
MOMENTS = (
    "2023-11-14 03:57",  # pre-market begins
    "2023-11-14 09:27",  # the regular session begins, within an hour
    "2023-11-14 15:57",  # it ends
    "2023-11-14 19:57",  # the day ends
    "2023-11-24 12:57",  # a half day's regular session ends
    "2023-11-24 16:57",  # a half day ends
    "2023-11-05 01:30",  # a Sunday: clocks go back
    "2024-03-10 01:30",  # clocks go forward
    "2023-11-14 18:57",  # midnight in UTC
)


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK).timestamp() * 1000)


def moved(message: Message, start: int, stretch: int) -> Message:
    """`message` as it were had the market begun at `start` and gone `stretch` times slower."""

    def move(t: int) -> int:
        return start + (t - BASE) * stretch

    message.received_at = move(message.received_at)
    if isinstance(message, Trades):
        for trade in message.trades:
            trade.t = move(trade.t)
    elif isinstance(message, Quote):
        message.t = move(message.t * 1000) // 1000
    else:
        message.t = move(message.t)
        if message.minute_start is not None:
            message.minute_start = move(message.minute_start)
        if message.gap_since is not None:
            message.gap_since = move(message.gap_since)
    return message


@st.composite
def days(draw: st.DrawFn) -> tuple[str, list[Message]]:
    """A symbol and its messages somewhere in a day, some minutes or hours of it, and the end."""
    symbol = draw(st.sampled_from(["SPY", "SPY", "BINANCE:BTCUSDT"]))
    start = at(draw(st.sampled_from(MOMENTS)))
    stretch = draw(st.sampled_from([1, 3, 10, 40]))
    drawn = [moved(message, start, stretch) for message in draw(messages(symbol))]
    for hours in (1, 30):
        t = start + hours * HOUR
        drawn.append(Watermark(symbol, "live", "z", t, t))
    return symbol, drawn


rules = st.builds(
    Rules,
    st.just("live"),
    st.sampled_from(["sip", "all"]),
    st.just(5_000),
    st.sampled_from([0, 90_000, 900_000]),
)
restarts = st.lists(st.booleans(), min_size=27, max_size=27)


@examples(600)
@given(days(), rules, restarts)
def test_after_every_message_and_restart_a_rollup_is_the_merge_of_its_minutes(day, rules, restarts):
    symbol, sent = day
    disk = Disk()
    candles, naive = SymbolCandles(symbol, rules, Counter()), NaiveRollups(symbol, rules)
    for offset, (message, restart) in enumerate(zip(sent, restarts, strict=False)):
        outcome = candles.apply(message, offset, None)
        assert outcome.rollups == naive.apply(outcome.records, candles.watermark)
        if restart:
            state_codec.save(candles, "incarnation", offset, disk)
            head = state_codec.head_of(disk)
            candles = state_codec.load(head, symbol, rules, Counter(), disk)
    assert not candles.rollups.open


def prices_of(prints: list[dict[str, Any]], place: RollupKey) -> tuple[Any, ...]:
    """Prices, their times and their source, of one candle of all prints of a span of time."""
    naive = NaiveCandles("", Rules("live"))
    inside = [x for x in prints if place.start <= x["start"] < place.end]
    naive.trades = [x | {"start": place.start} for x in inside]
    return naive._prices(place.start)


@examples(400)
@given(days(), rules)
def test_a_rollup_has_the_prices_that_one_candle_of_all_its_trades_would_have(day, rules):
    symbol, sent = day
    candles, naive = SymbolCandles(symbol, rules, Counter()), NaiveCandles(symbol, rules)
    made: list[Candle] = []
    for offset, message in enumerate(sent):
        naive.apply(message, offset)
        made += candles.apply(message, offset, None).rollups
    for rollup in newest(made).values():
        place = RollupKey(rollup.interval, rollup.window_start, rollup.window_end)
        if rollup.interval != "1d" or rollup.session == "continuous":
            assert prices_of(naive.trades + naive.quotes, place) == (
                *(rollup.open, rollup.open_time, rollup.high, rollup.high_time),
                *(rollup.low, rollup.low_time, rollup.close, rollup.close_time),
                rollup.price_source,
            )


@examples(200)
@given(days(), rules)
def test_invariants_hold_in_every_rollup(day, rules):
    symbol, sent = day
    candles = SymbolCandles(symbol, rules, Counter())
    revisions: dict[str, int] = {}
    for offset, message in enumerate(sent):
        made = candles.apply(message, offset, None).rollups
        assert len({rollup.candle_id for rollup in made}) == len(made)
        for rollup in made:
            assert rollup.low <= min(rollup.open, rollup.close)
            assert rollup.high >= max(rollup.open, rollup.close)
            assert rollup.window_start <= rollup.open_time <= rollup.close_time < rollup.window_end
            assert (rollup.vwap is None) == (rollup.volume == 0)
            for number in (rollup.close, rollup.volume, rollup.notional, rollup.odd_lot_volume):
                assert str(number) == str(canonical(number))
            last = revisions.get(rollup.candle_id, -1)
            if rollup.status == "partial":
                assert rollup.revision is None
                assert last == -1
            else:
                assert rollup.revision == last + 1
                assert rollup.status == ("revised" if rollup.revision else "final")
                revisions[rollup.candle_id] = rollup.revision
