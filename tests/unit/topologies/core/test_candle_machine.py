"""A symbol's history step by step: every record is that of models that keep every trade and minute.

Sources whose clocks differ come and go, the worker saves, restarts and crashes, the feed repeats
itself, is late and is wrong; whatever hypothesis makes of it, the core's output is the model's.
"""

from __future__ import annotations

import copy
from collections import Counter
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.contracts import Message, Quote, Trade, Trades, Watermark
from tests.unit.topologies.disk import Disk
from tests.unit.topologies.examples import examples
from tests.unit.topologies.messages import BASE, MINUTE, conditions, prices, sizes
from tests.unit.topologies.naive import NaiveCandles
from tests.unit.topologies.naive_rollups import NaiveRollups
from topologies.core import state_codec
from topologies.core.candle import Outcome, Rules, SymbolCandles

GRACE_MS = 5_000
CLOCKS_MS = {"a": 0, "b": -30_000, "c": 3_600_000}
"""Sources, and by how much the clock of each is wrong."""

sources = st.sampled_from(["a", "a", "b", "c"])
lags = st.sampled_from(
    [0, 0, 1, 400, GRACE_MS, 59_999, MINUTE, 100_000, 151_000, 900_000, -60_000, -60_001]
)
"""By how much a trade is older than its arrival."""
prints = st.tuples(lags, st.booleans(), prices, sizes, conditions, st.sampled_from([0, 0, 0, 1]))


class SymbolHistory(RuleBasedStateMachine):
    """One symbol at a worker whose memory, store and input are all in reach."""

    @initialize(
        price_rule=st.sampled_from(["sip", "all"]),
        allowed_lateness_ms=st.sampled_from([MINUTE, 90_000, 900_000]),
    )
    def begin(self, price_rule, allowed_lateness_ms):
        self.rules = Rules("live", price_rule, GRACE_MS, allowed_lateness_ms)
        self.candles = SymbolCandles("SPY", self.rules, Counter())
        self.naive = NaiveCandles("SPY", self.rules)
        self.naive_rollups = NaiveRollups("SPY", self.rules)
        self.disk = Disk()
        self.now = BASE
        self.sent: list[Message] = []
        self.outcomes: list[Outcome] = []
        self.committed = -1

    def send(self, message: Message) -> None:
        offset = len(self.sent)
        self.sent.append(copy.deepcopy(message))
        outcome = self.candles.apply(message, offset, None)
        self.outcomes.append(outcome)
        records, partials, rejections = self.naive.apply(copy.deepcopy(message), offset)
        assert outcome.records == records
        assert outcome.partials == partials
        assert [(r.reason, r.indices) for r in outcome.rejections] == rejections
        assert self.candles.watermark == self.naive.watermark
        rollups = self.naive_rollups.apply(records, self.naive.watermark)
        assert outcome.rollups == rollups

    def at(self, lag_ms: int, snapped: bool) -> int:
        t = self.now - lag_ms
        return t - t % MINUTE if snapped else t

    def trades_message(self, source: str, trades: list[Trade]) -> Trades:
        return Trades("SPY", "live", source, "c", self.now + CLOCKS_MS[source] % MINUTE, trades)

    @rule(ms=st.sampled_from([1, 99, 100, 1_000, GRACE_MS, 20_000, MINUTE, 150_000, 700_000]))
    def time_passes(self, ms):
        self.now += ms

    @rule(source=sources, drawn=st.lists(prints, min_size=1, max_size=4))
    def trades_come(self, source, drawn):
        trades = [Trade(self.at(lag, snap), p, v, c, k=k) for lag, snap, p, v, c, k in drawn]
        self.send(self.trades_message(source, trades))

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 8))
    def a_message_comes_again(self, back):
        self.send(copy.deepcopy(self.sent[-min(back, len(self.sent))]))

    @precondition(lambda self: self.sent)
    @rule(source=sources, size=st.integers(1, 5))
    def a_second_connection_frames_what_came_its_own_way(self, source, size):
        came = [t for m in self.sent[-4:] if isinstance(m, Trades) for t in m.trades]
        for first in range(0, len(came), size):
            self.send(self.trades_message(source, copy.deepcopy(came[first : first + size])))

    @rule(lag=st.sampled_from([0, 1_000, MINUTE, 900_000, -70_000]), price=prices | st.just(0))
    def a_quote_comes(self, lag, price):
        t = self.now - lag
        self.send(Quote("SPY", "live", "a", self.now, Decimal(price), *[None] * 6, t // 1000))

    @rule(
        source=sources, back=st.integers(0, 3), covered=st.sampled_from([None, 0, 30_000, MINUTE])
    )
    def a_source_reports_its_watermark(self, source, back, covered):
        clock = self.now + CLOCKS_MS[source]
        minute = clock - clock % MINUTE - back * MINUTE
        reported = (None, None) if covered is None else (minute, covered)
        self.send(Watermark("SPY", "live", source, clock, clock - GRACE_MS, *reported))

    @precondition(lambda self: self.candles.windows)
    @rule(source=sources, nth=st.integers(0, 5), past=st.booleans(), off_ms=st.integers(-1, 1))
    def a_source_stands_where_a_minute_ends_or_can_change_no_more(self, source, nth, past, off_ms):
        starts = sorted(self.candles.windows)
        end = starts[nth % len(starts)] + MINUTE
        t = end + (self.rules.allowed_lateness_ms if past else 0) + off_ms
        self.send(Watermark("SPY", "live", source, self.now, t))

    @precondition(lambda self: self.candles.sources.t)
    @rule(source=sources, off_ms=st.integers(-1, 1))
    def a_source_has_left_the_slowest_behind(self, source, off_ms):
        t = min(self.candles.sources.t.values()) + 150_000 + off_ms
        self.send(Watermark("SPY", "live", source, self.now, t))

    @rule(source=sources, minutes=st.integers(0, 20))
    def a_source_returns_and_reports_what_it_missed(self, source, minutes):
        clock = self.now + CLOCKS_MS[source]
        last = clock - clock % MINUTE
        since = last - minutes * MINUTE
        self.send(Watermark("SPY", "live", source, clock, clock - GRACE_MS, last, 0, since))

    @rule()
    def a_checkpoint_is_committed(self):
        state_codec.save(self.candles, "incarnation", len(self.sent) - 1, self.disk)
        self.committed = len(self.sent) - 1
        starts = {int(key[1:].split(b".")[0]) for key in self.disk if key[:1] in b"wi"}
        assert starts == set(self.candles.windows)

    @rule()
    def the_worker_crashes_and_repeats_what_was_not_committed(self):
        head = state_codec.head_of(self.disk)
        if head is None:
            self.candles = SymbolCandles("SPY", self.rules, Counter())
        else:
            assert head.offset == self.committed
            self.candles = state_codec.load(head, "SPY", self.rules, Counter(), self.disk)
        for offset in range(self.committed + 1, len(self.sent)):
            again = self.candles.apply(copy.deepcopy(self.sent[offset]), offset, None)
            assert again == self.outcomes[offset]

    @invariant()
    def nothing_past_is_kept(self):
        if self.sent:
            kept = {*self.candles.windows, *self.candles.identities, *self.candles.coverage}
            assert not any(self.naive.past(start) for start in kept)


SymbolHistory.TestCase.settings = examples(120, stateful_step_count=40)
TestSymbolHistory = SymbolHistory.TestCase
