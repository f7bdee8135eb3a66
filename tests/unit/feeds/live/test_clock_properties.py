"""Wrong times, from the frames to the candles: no right trade is lost, and each fault has a name.

A market of several symbols, fewer than half of which carry a wrong time, is received by a producer
whose machine's clock may be wrong as well.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from app.contracts import FUTURE_MS, Message, RejectionRecord
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.clock_skew import TOLERANCE_MS
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing
from topologies.backfill import Backfill
from topologies.core.candle import Rules

M = 1_731_600_060_000
"""The start of a minute: when the market begins, by the true time."""
SECONDS = 150
GRACE_MS, LATENESS_MS = 5_000, 900_000
DAY_MS = 86_400_000
DATE_EVERY_S = 20


@dataclass(frozen=True)
class Fault:
    """How wrong the times of a symbol's trades are, and from which second on.

    :ivar drifts: whether it grows to `by_ms` until the end; else it comes at once.
    """

    by_ms: int
    from_s: int = 0
    drifts: bool = False

    def at(self, second: int) -> int:
        if second < self.from_s:
            return 0
        if not self.drifts:
            return self.by_ms
        return self.by_ms * (second - self.from_s) // (SECONDS - self.from_s)


@dataclass(frozen=True)
class Market:
    """What happens.

    :ivar every_s: every how many seconds each symbol trades.
    :ivar faults: of the first symbols, fewer than half of all.
    :ivar machine_ms: how far the machine's clock is ahead (behind, if negative).
    :ivar has_date: whether the server gives its time.
    :ivar burst: trades a second of the first symbol, which may be a wrong one.
    """

    every_s: list[int]
    faults: list[Fault]
    machine_ms: int = 0
    has_date: bool = True
    connections: int = 1
    burst: int = 1
    seed: int = 0

    @property
    def symbols(self) -> list[str]:
        return [f"SYM{number}" for number in range(len(self.every_s))]

    @property
    def wrong(self) -> dict[str, Fault]:
        return dict(zip(self.symbols, self.faults, strict=False))


class Run:
    """A producer that receives a market, and what it made of it."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.clock = ManualClock(M + market.machine_ms)
        self.messages: list[Message] = []
        self.rejected: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.session = FeedSession(
            SessionConfig(
                feed="live", source="src", grace_ms=GRACE_MS, allowed_lateness_ms=LATENESS_MS
            ),
            parse_frame=parse_frame,
            symbols=market.symbols,
            clock=self.clock,
        )
        self._take(self.session.resume())
        for number in range(market.connections):
            self._date(0)
            self.session.connected(f"c-{number}", market.symbols[number :: market.connections])
        for second in range(SECONDS):
            self._second(second)
        self._take(self.session.end())
        self._last_watermarks()

    def _second(self, second: int) -> None:
        market, rng = self.market, Random(f"{self.market.seed}:{second}")
        true_ms = second * 1_000
        if second and not second % DATE_EVERY_S:
            self._date(true_ms)
        trading = [s for s, every in zip(market.symbols, market.every_s, strict=True)
                   if not (second + len(s)) % every]  # fmt: skip
        rng.shuffle(trading)
        for symbol in trading:
            self._frame(symbol, second, true_ms, rng)
        self.clock.move_forward(1_000)
        self._take(self.session.each_second())

    def _frame(self, symbol: str, second: int, true_ms: int, rng: Random) -> None:
        market = self.market
        by_ms = market.wrong[symbol].at(second) if symbol in market.wrong else 0
        count = market.burst if symbol == market.symbols[0] else 1
        data = [
            {"s": symbol, "p": 1, "v": 1 + second, "t": M + true_ms + by_ms - rng.randrange(300)}
            for _ in range(count)
        ]
        self.sent[symbol] += count
        number = market.symbols.index(symbol) % market.connections
        raw = json.dumps({"type": "trade", "data": data}).encode()
        self._take(self.session.frame(raw, f"c-{number}"))

    def _date(self, true_ms: int) -> None:
        if self.market.has_date:
            now_ms = self.clock.now_ms()
            date_ms = (M + true_ms) // 1_000 * 1_000
            self._take(self.session.server_date(date_ms, now_ms, now_ms))

    def _take(self, made: list[Outgoing]) -> None:
        for item in made:
            if isinstance(item, RejectionRecord):
                assert item.reason == "future"
                frame = json.loads(base64.b64decode(item.payload or ""))
                for index in item.indices or ():
                    self.rejected[frame["data"][index]["s"]] += 1
            else:
                self.messages.append(item)

    def _last_watermarks(self) -> None:
        """The market goes on until every right minute is final."""
        for second in range(SECONDS, SECONDS + 100):
            self._date(second * 1_000)
            self.clock.move_forward(1_000)
            self._take(self.session.each_second())

    def judge(self, log: str) -> None:
        market, wrong = self.market, self.market.wrong
        backfill = Backfill(Rules("live", "all", GRACE_MS, LATENESS_MS))
        late: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        for message in self.messages:
            before = backfill.rejections.total()
            list(backfill.records([message]))
            late[message.symbol] += backfill.rejections.total() - before
            taken[message.symbol] += len(getattr(message, "trades", ()))
        for symbol in market.symbols:
            assert taken[symbol] + self.rejected[symbol] == self.sent[symbol], symbol
            if symbol not in wrong:
                assert not self.rejected[symbol], f"{symbol} is right, and rejected as future"
                assert not late[symbol], f"{symbol} is right, and rejected as late"
        self._judge_log(log)

    def _judge_log(self, log: str) -> None:
        market, wrong = self.market, self.market.wrong
        lines = [line for line in log.splitlines() if "trades carry a time" in line]
        for symbol in market.symbols:
            named = sum(f"{symbol} by" in line for line in lines)
            assert named <= 1, f"{symbol} is named {named} times"
            if symbol not in wrong:
                assert not named, f"{symbol} is right, and named as wrong"
        if market.has_date:
            self._judge_names(lines)
        behind = sum(line.startswith("this machine's clock is") for line in log.splitlines())
        assert behind <= 2, "a wrong clock is named, and that it is right again"
        if abs(market.machine_ms) > TOLERANCE_MS + 1_000 and market.has_date:
            assert behind == 1, "the machine's clock is wrong, and not named"
        if not market.machine_ms:
            assert not behind, "the machine's clock is right, and named as wrong"

    def _judge_names(self, lines: list[str]) -> None:
        """A symbol that traded in ten seconds or more with a wrong time has a name."""
        for symbol, fault in self.market.wrong.items():
            every_s = self.market.every_s[self.market.symbols.index(symbol)]
            off = [s for s in range(0, SECONDS, every_s) if abs(fault.at(s)) > 3 * TOLERANCE_MS]
            if len(off) >= 10:
                assert sum(f"{symbol} by" in line for line in lines) == 1, f"{symbol} is not named"


def _received(market: Market, caplog: pytest.LogCaptureFixture) -> Run:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        run = Run(market)
    run.judge("\n".join(record.getMessage() for record in caplog.records))
    return run


wrong_ms = st.one_of(
    st.integers(3_000, 120_000), st.integers(120_000, LATENESS_MS * 4), st.integers(1, 5 * DAY_MS)
).flatmap(lambda ms: st.sampled_from([ms, -ms]))
faults = st.builds(Fault, wrong_ms, st.integers(0, 100), st.booleans())


@st.composite
def markets(draw: st.DrawFn, has_date: bool) -> Market:
    every_s = draw(st.lists(st.integers(1, 12), min_size=3, max_size=11))
    most = (len(every_s) - 1) // 2
    return Market(
        every_s=every_s,
        faults=draw(st.lists(faults, min_size=0, max_size=most)),
        machine_ms=draw(st.one_of(st.just(0), wrong_ms)),
        has_date=has_date,
        connections=draw(st.integers(1, 3)),
        burst=draw(st.sampled_from([1, 150])),
        seed=draw(st.integers(0, 1_000)),
    )


_SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_SETTINGS
@example(Market([1] * 5, [Fault(3_600_000), Fault(3_600_000)]))
@example(Market([1] * 5, [Fault(3_600_000)] * 2, machine_ms=-300_000))
@example(Market([1] * 5, [Fault(3_600_000)] * 2, machine_ms=3_600_000))
@example(Market([1, 9, 9], [Fault(3_600_000)], burst=150))
@example(Market([1] * 4, [], machine_ms=-5 * DAY_MS))
@given(markets(has_date=True))
def test_no_right_trade_is_rejected_and_each_fault_has_a_name(
    caplog: pytest.LogCaptureFixture, market: Market
) -> None:
    run = _received(market, caplog)
    if market.machine_ms < -TOLERANCE_MS - 1_000:
        off_ms = run.clock.now_ms() - (M + (SECONDS + 100) * 1_000)
        assert abs(off_ms) <= TOLERANCE_MS + 1_000


@_SETTINGS
@example(Market([1] * 5, [Fault(3_600_000)] * 2, has_date=False))
@example(Market([1] * 5, [Fault(3_600_000)] * 2, machine_ms=-300_000, has_date=False))
@example(Market([1] * 5, [Fault(3_600_000)] * 2, machine_ms=3_600_000, has_date=False))
@given(markets(has_date=False))
def test_without_a_date_no_right_trade_is_rejected_either(
    caplog: pytest.LogCaptureFixture, market: Market
) -> None:
    _received(market, caplog)


def test_an_hour_ahead_is_rejected_as_future_though_it_is_most_of_all_trades(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = _received(Market([1, 12, 12], [Fault(3_600_000)], burst=150), caplog)
    assert run.rejected == {"SYM0": run.sent["SYM0"]}


def test_a_fault_ahead_by_less_than_a_minute_is_named_and_its_trades_are_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = _received(Market([1] * 3, [Fault(FUTURE_MS - 1_000)]), caplog)
    assert not run.rejected
