"""The candle core against a model that keeps every trade, and the promises of its market fields."""

from __future__ import annotations

import copy
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Candle, Message, Trade, Trades, Watermark, encode
from tests.unit.topologies.disk import Disk
from tests.unit.topologies.examples import examples
from tests.unit.topologies.messages import (
    BASE,
    MINUTE,
    messages,
    number_repeats,
    trade_messages,
    trades,
)
from tests.unit.topologies.naive import NaiveCandles
from topologies.core import state_codec
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.window import market_fields, newest

RULES = Rules("live", "sip", grace_ms=5_000, allowed_lateness_ms=90_000)
WIDE = Rules("live", "sip", grace_ms=5_000, allowed_lateness_ms=900_000)


def run(messages: list[Message], rules: Rules = RULES) -> tuple[list[Candle], list[Candle]]:
    candles = SymbolCandles("SPY", rules, Counter())
    records, partials = [], []
    for offset, message in enumerate(messages):
        outcome = candles.apply(message, offset, None)
        records += outcome.records
        partials += outcome.partials
    return records, partials


def last_market_fields(messages: list[Message], rules: Rules = WIDE) -> dict[str, tuple]:
    """Return the market fields of each candle's last revision, all closed by a final watermark."""
    closing = Watermark("SPY", "live", "z", BASE + 20 * MINUTE, BASE + 10 * MINUTE)
    records, _ = run([*messages, closing], rules)
    return {key: market_fields(candle) for key, candle in newest(records).items()}


@pytest.mark.parametrize("price_rule", ["sip", "all"])
@examples(400)
@given(data=st.data())
def test_every_record_equals_that_of_a_model_which_keeps_every_trade(price_rule, data):
    rules = Rules("live", price_rule, grace_ms=5_000, allowed_lateness_ms=90_000)
    candles, naive = SymbolCandles("SPY", rules, Counter()), NaiveCandles("SPY", rules)
    for offset, message in enumerate(data.draw(messages())):
        outcome = candles.apply(copy.deepcopy(message), offset, None)
        records, partials, rejections = naive.apply(message, offset)
        assert outcome.records == records
        assert outcome.partials == partials
        assert [(r.reason, r.indices) for r in outcome.rejections] == rejections
        assert candles.watermark == naive.watermark


@examples(300)
@given(messages(), st.lists(st.booleans(), min_size=25, max_size=25))
def test_saved_and_loaded_at_any_time_the_records_stay_the_same(messages, restarts):
    undisturbed = run(messages)
    disk = Disk()
    candles = SymbolCandles("SPY", RULES, Counter())
    records, partials = [], []
    for offset, (message, restart) in enumerate(zip(messages, restarts, strict=False)):
        outcome = candles.apply(message, offset, None)
        records += outcome.records
        partials += outcome.partials
        if restart:
            state_codec.save(candles, "incarnation", offset, disk)
            head = state_codec.head_of(disk)
            assert head.offset == offset
            candles = state_codec.load(head, "SPY", RULES, Counter(), disk)
    assert (records, partials) == undisturbed
    assert list(map(encode, records)) == list(map(encode, undisturbed[0]))


@examples(200)
@given(messages())
def test_a_store_holds_nothing_of_windows_that_are_gone(messages):
    disk = Disk()
    candles = SymbolCandles("SPY", RULES, Counter())
    for offset, message in enumerate(messages):
        candles.apply(message, offset, None)
        state_codec.save(candles, "incarnation", offset, disk)
        starts = {int(key[1:].split(b".")[0]) for key in disk if key[:1] in b"wi"}
        assert starts == set(candles.windows)
        rollups = {key for key in disk if key[:1] == b"r"}
        assert rollups == {b"r%d.%d" % key for key in candles.rollups.open}
    state_codec.discard(state_codec.head_of(disk), disk) if disk else None
    assert not disk


def as_messages(trades: list[Trade], sizes: list[int]) -> list[Message]:
    """`trades` in messages of the given sizes, all received after the newest of them."""
    rest, out = list(trades), []
    for size in [*sizes, len(rest)]:
        part, rest = rest[:size], rest[size:]
        if part:
            out.append(Trades("SPY", "live", "a", "c", BASE + 7 * MINUTE, part))
    return out


many_trades = st.lists(trades, min_size=1, max_size=30).map(number_repeats)


@examples(200)
@given(messages())
def test_messages_fed_twice_give_the_same_market_fields(messages):
    messages = [m for m in messages if not isinstance(m, Watermark)]
    twice = [m for m in messages for _ in range(2)]
    assert last_market_fields(twice) == last_market_fields(messages)


@examples(200)
@given(messages())
def test_invariants_hold_in_every_record(messages):
    records, partials = run(messages)
    for candle in records + partials:
        assert candle.low <= candle.open <= candle.high
        assert candle.low <= candle.close <= candle.high
        assert candle.eligible_count <= candle.trade_count
        assert candle.odd_lot_volume <= candle.volume
        assert candle.first_offset <= candle.last_offset
        assert (candle.vwap is None) == (candle.volume == 0)
        assert candle.window_start <= candle.open_time <= candle.close_time < candle.window_end
    revisions: dict[str, int] = {}
    for candle in records:
        assert candle.revision == revisions.get(candle.candle_id, -1) + 1
        revisions[candle.candle_id] = candle.revision
        assert candle.status == ("revised" if candle.revision else "final")


ARRIVAL = {"covered_ms", "revision", "status", "last_offset"}
bursts = st.lists(
    st.builds(
        lambda ms, t, minute, covered, source: Watermark(
            "SPY", "live", source, BASE + ms, BASE + t, BASE + minute * MINUTE, covered
        ),
        st.integers(0, 4_000),
        st.sampled_from([0, MINUTE, 2 * MINUTE, 3 * MINUTE, 150_000]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["a", "b"]),
    )
    | trade_messages("SPY"),
    max_size=25,
)
"""Many reports of the coverage of a few minutes within a few seconds."""


@examples(400)
@given(bursts)
def test_coverage_alone_is_written_once_a_second_and_never_lost(messages):
    candles, naive = SymbolCandles("SPY", RULES, Counter()), NaiveCandles("SPY", RULES)
    newest: dict[str, Candle] = {}
    alone: Counter[tuple[str, int]] = Counter()
    after = max((m.received_at for m in messages), default=BASE) + 1_000
    closing = Watermark("SPY", "live", "a", after, BASE)
    for offset, message in enumerate([*messages, closing]):
        before = set(candles.windows)
        outcome = candles.apply(copy.deepcopy(message), offset, None)
        naive.apply(message, offset)
        dropped = before - set(candles.windows)
        for record in (*outcome.records, *outcome.rollups):
            known = newest.get(record.candle_id)
            if known is not None and is_coverage_alone(known, record) and not dropped:
                alone[record.candle_id, message.received_at // 1000] += 1
            newest[record.candle_id] = record
        for start in dropped:
            assert newest[f"SPY|1m|{start}"].covered_ms == naive._covered(start)
    assert set(alone.values()) <= {1}
    for start, window in candles.windows.items():
        if window.revision >= 0:
            assert newest[f"SPY|1m|{start}"].covered_ms == naive._covered(start)


def is_coverage_alone(before: Candle, after: Candle) -> bool:
    """Whether nothing but the coverage of a candle changed."""
    names = [name for name in Candle.__struct_fields__ if name not in ARRIVAL]
    return all(getattr(before, name) == getattr(after, name) for name in names)


@given(many_trades)
def test_numbers_are_written_in_one_form(trades):
    for candle in run(as_messages(trades, []))[1]:
        text = encode(candle).decode()
        assert "E+" not in text
        for number in (candle.open, candle.volume, candle.notional):
            assert str(number) == str(Decimal(number).normalize()) or number == number.to_integral()
