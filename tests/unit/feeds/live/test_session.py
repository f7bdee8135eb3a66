"""A source's side of the feed, driven second by second and frame by frame."""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import RejectionRecord, Trades, Watermark
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.session import NO_PING_MS, SUSPENDED_MS, FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing

M = 1_731_600_060_000
PING = b'{"type":"ping"}'
TOO_MANY = b'{"msg":"Subscribing to too many symbols","type":"error"}'


class _Feed:
    """A session on a clock that the test moves; times are ms from M on."""

    def __init__(
        self,
        now: int = 0,
        checkpoint: CoverageCheckpoint | None = None,
        is_open: bool = False,
        symbols: tuple[str, ...] = ("A", "B"),
    ) -> None:
        self.clock = ManualClock(M + now)
        self.session = FeedSession(
            SessionConfig(feed="live", source="src", grace_ms=5_000, allowed_lateness_ms=900_000),
            parse_frame=parse_frame,
            symbols=symbols,
            clock=self.clock,
            checkpoint=checkpoint,
            is_open=lambda symbol, at_ms: is_open,
        )

    def pass_s(self, seconds: int, frame: bytes | None = None) -> list[Outgoing]:
        """Let time pass, a tick each second, `frame` received before each."""
        made = []
        for _ in range(seconds):
            self.clock.move_forward(1_000)
            if frame is not None:
                made += self.session.frame(frame, "c-1")
            made += self.session.each_second()
        return made

    def date(self, t: int) -> list[Outgoing]:
        """The server gives its time, `t` ms from M on."""
        now_ms = self.clock.now_ms()
        return self.session.server_date(M + t, now_ms, now_ms)

    def trades(self, *times: int, symbol: str = "A") -> list[Outgoing]:
        data = [{"s": symbol, "p": 1, "v": 1, "t": M + t} for t in times]
        return self.session.frame(json.dumps({"data": data, "type": "trade"}).encode(), "c-1")


def _emitted(made: list[Outgoing], symbol: str = "A") -> list[tuple[int, int | None]]:
    return [
        ((m.minute_start or 0) - M, m.covered_ms)
        for m in made
        if isinstance(m, Watermark) and m.symbol == symbol
    ]


def test_a_minute_is_reported_before_a_trade_that_could_close_it() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(64)
    feed.clock.move_forward(999)
    assert [type(m) for m in feed.trades(64_990)] == [Trades]
    feed.clock.move_forward(1)
    made = feed.trades(64_995)
    assert [(type(m), m.symbol) for m in made if not isinstance(m, RejectionRecord)] == [
        (Watermark, "A"),
        (Watermark, "B"),
        (Trades, "A"),
    ]
    assert _emitted(made) == [(0, 60_000)]


def test_three_missed_pings_are_silence_and_what_was_not_received_is_not_covered() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(30, PING)
    feed.pass_s(180)
    assert not feed.session.is_silent("c-1")
    feed.pass_s(1)
    assert feed.session.is_silent("c-1")
    assert NO_PING_MS == 180_000
    made = feed.session.disconnected("c-1")
    assert _emitted(made) == [(0, 30_000), (60_000, 0), (120_000, 0)]


def test_a_connection_that_ends_is_covered_until_its_end() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(40)
    assert feed.session.disconnected("c-1") == []
    assert feed.session.disconnected("c-1") == []
    assert _emitted(feed.pass_s(25)) == [(0, 40_000)]


def test_a_laptops_sleep_is_not_covered_though_the_connection_survived() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(10, PING)
    feed.clock.move_forward(600_000)
    made = feed.session.frame(PING, "c-1")
    assert made == []
    emitted = _emitted(feed.pass_s(1))
    assert emitted[0] == (0, 10_000)
    assert {covered for _, covered in emitted[1:]} == {0}


def test_a_wrong_clock_is_moved_before_the_trades_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(1)
    feed.date(31_000)
    made = feed.trades(31_000, 31_000, 31_000)
    (message,) = [m for m in made if isinstance(m, Trades)]
    assert message.received_at == M + 31_000
    assert feed.clock.now_ms() == M + 31_000
    assert "clock is 30.0 s behind" in caplog.text
    assert _emitted(feed.pass_s(34))[-1] == (0, 30_000)  # 1 s before, 29 s after


def test_a_minute_that_was_reported_stays_so_when_trades_move_the_clock() -> None:
    feed = _Feed(now=47_000)
    feed.session.connected("c-1")
    made = feed.pass_s(18)
    made += feed.date(86_000)  # the clock is behind by 21 s
    made += feed.trades(86_000, 86_000, 86_000)
    made += feed.pass_s(40)
    made += feed.session.disconnected("c-1")
    assert dict(_emitted(made)) == {0: 13_000, 60_000: 39_000}


def test_a_late_feed_closes_minutes_as_late_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    feed = _Feed(now=30_000)
    feed.session.connected("c-1")
    feed.trades(10_000, 10_000, 10_000)
    made = feed.pass_s(35)
    assert max(m.t for m in made if isinstance(m, Watermark)) == M + 5_000
    assert "20.0 s after they happened" in caplog.text
    caplog.clear()
    for second in range(66_000, 70_000, 1_000):
        feed.trades(second - 1_000)
        feed.pass_s(1)
    assert "in time again" in caplog.text


def test_repeated_and_rejected_frames_are_counted() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    for _ in range(3):
        feed.trades(0)
    (record,) = feed.session.frame(b"{", "c-1")
    assert isinstance(record, RejectionRecord)
    made = feed.session.frame(b'{"data":[{"s":"A","p":-1,"v":1,"t":1}],"type":"trade"}', "c-1")
    assert [type(m) for m in made] == [RejectionRecord]
    assert feed.session.counts == {
        "frames": 5,
        "trades": 1,
        "repeated_frames": 2,
        "repeated_trades": 2,
        "rejected_frames": 1,
        "rejected_trades": 1,
    }


def test_errors_of_the_server_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    caplog.set_level(logging.WARNING)
    assert feed.session.frame(TOO_MANY, "c-1") == []
    assert "Subscribing to too many symbols" in caplog.text
    assert feed.session.counts["error_frames"] == 1


def test_what_one_run_stored_the_next_goes_on_from() -> None:
    first = _Feed()
    first.session.connected("c-1")
    first.pass_s(20)
    second = _Feed(now=125_000, checkpoint=first.session.checkpoint())
    assert _emitted(second.session.resume()) == [(0, 20_000), (60_000, 0), (120_000, 0)]


def _behind_by_300_s() -> _Feed:
    """A feed whose clock trades have moved from 0:01 to 5:01 and that went on to 8:21."""
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(1)
    feed.date(301_000)
    feed.trades(301_000)
    feed.pass_s(200)
    return feed


def test_a_restart_on_a_clock_that_is_behind_reports_no_minute_again() -> None:
    first = _behind_by_300_s()
    second = _Feed(now=206_000, checkpoint=first.session.checkpoint())  # five seconds later
    assert second.clock.now_ms() == M + 506_000
    made = second.session.resume()
    second.session.connected("c-1")
    made += second.pass_s(1)
    made += second.trades(507_000, 507_000, 507_000)
    made += second.pass_s(60)
    assert dict(_emitted(made)) == {480_000: 55_000}


def test_a_clock_that_was_set_right_meanwhile_is_not_moved() -> None:
    second = _Feed(now=506_000, checkpoint=_behind_by_300_s().session.checkpoint())
    assert second.clock.now_ms() == M + 506_000
    assert _emitted(second.session.resume()) == [(480_000, 21_000)]


def test_who_was_away_for_longer_than_the_clock_is_behind_leaves_it_to_the_trades() -> None:
    second = _Feed(now=510_000, checkpoint=_behind_by_300_s().session.checkpoint())
    assert second.clock.now_ms() == M + 510_000
    second.session.resume()
    second.session.connected("c-1")
    second.date(810_000)
    second.trades(810_000)
    assert second.clock.now_ms() == M + 810_000


def test_a_clock_that_was_set_back_further_than_trades_had_moved_it_is_believed() -> None:
    second = _Feed(now=200_999, checkpoint=_behind_by_300_s().session.checkpoint())
    assert second.clock.now_ms() == M + 200_999
    assert second.session.resume() == []


def test_a_move_that_proved_wrong_is_not_made_again() -> None:
    first = _behind_by_300_s()
    first.date(201_000)  # it was the server's clock that was wrong
    first.trades(201_000)
    second = _Feed(now=206_000, checkpoint=first.session.checkpoint())
    assert second.clock.now_ms() == M + 206_000
    assert _emitted(second.session.resume()) == []


def test_a_checkpoint_that_is_hardly_ahead_is_gone_on_from() -> None:
    first = _Feed()
    first.session.connected("c-1")
    first.pass_s(20)
    second = _Feed(
        now=18_500, checkpoint=first.session.checkpoint()
    )  # the clock was set back by a little
    assert second.clock.now_ms() == M + 20_000
    assert _emitted(second.session.resume()) == [(0, 20_000)]
    second = _Feed(now=17_999, checkpoint=first.session.checkpoint())
    assert second.clock.now_ms() == M + 17_999


def test_a_third_run_goes_on_where_the_second_ended_though_it_received_no_trade() -> None:
    second = _Feed(now=206_000, checkpoint=_behind_by_300_s().session.checkpoint())
    second.pass_s(10)
    third = _Feed(now=220_000, checkpoint=second.session.checkpoint())
    assert third.clock.now_ms() == M + 520_000


@settings(deadline=None)
@given(
    behind_s=st.integers(3, 400),
    runs_s=st.lists(st.tuples(st.integers(2, 150), st.integers(0, 300)), min_size=1, max_size=5),
)
def test_however_often_it_restarts_each_minute_is_reported_as_it_was_received(
    behind_s: int, runs_s: list[tuple[int, int]]
) -> None:
    true_ms = behind_s * 1_000
    checkpoint: CoverageCheckpoint | None = None
    received: Counter[int] = Counter()
    emitted: dict[int, int | None] = {}
    for run_s, away_s in (*runs_s, (150, 0)):
        feed = _Feed(true_ms - behind_s * 1_000, checkpoint)
        assert checkpoint is None or feed.clock.now_ms() >= checkpoint.at_ms
        emitted |= _emitted(feed.session.resume())
        feed.session.connected("c-1")
        for second in range(run_s):
            received[(feed.clock.now_ms() - M) // 60_000 * 60_000] += 1_000
            emitted |= _emitted(feed.pass_s(1))
            true_ms += 1_000
            if second == 1:
                emitted |= _emitted(feed.date(true_ms))
                emitted |= _emitted(feed.trades(true_ms))
        checkpoint = feed.session.checkpoint()
        true_ms += away_s * 1_000
    closed = {minute for minute in emitted if minute + 65_000 <= checkpoint.at_ms - M}
    assert {minute: emitted[minute] for minute in closed} == {
        minute: received[minute] for minute in closed
    }


def test_a_stall_is_found_in_an_open_market_though_pings_come() -> None:
    feed = _Feed(is_open=True)
    feed.session.connected("c-1")
    feed.pass_s(20)
    feed.trades(20_000)
    assert _emitted(feed.pass_s(85, PING))[-1] == (0, 60_000)
    assert feed.session.stalls("c-1") == []
    feed.pass_s(6, PING)
    assert [stall.symbols for stall in feed.session.stalls("c-1")] == [("A", "B")]
    assert _emitted(feed.session.disconnected("c-1")) == [(0, 20_000)]
    assert _emitted(feed.pass_s(15)) == [(60_000, 0)]


def test_a_closed_market_is_silent_without_being_stalled() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(600, PING)
    assert feed.session.stalls("c-1") == []
    assert feed.session.disconnected("c-1") == []


def test_each_connection_covers_its_own_symbols() -> None:
    feed = _Feed()
    feed.session.connected("c-1", ["A"])
    feed.session.connected("c-2", ["B"])
    feed.pass_s(20)
    feed.session.disconnected("c-2")
    made = feed.pass_s(45)
    assert (_emitted(made), _emitted(made, "B")) == ([(0, 60_000)], [(0, 20_000)])


def test_a_rejected_symbol_was_never_covered_and_the_others_are() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.session.frame(TOO_MANY, "c-1")
    found: list[str] = []
    for _ in range(30):
        feed.pass_s(1)
        again, rejected, corrections = feed.session.find_rejected("c-1")
        assert corrections == []
        found += rejected
        if "B" in again:
            feed.session.frame(TOO_MANY, "c-1")
    assert found == feed.session.rejected_symbols("c-1") == ["B"]
    made = feed.pass_s(35)
    assert (_emitted(made), _emitted(made, "B")) == ([(0, 60_000)], [(0, 0)])
    feed.trades(65_000, symbol="B")
    assert feed.session.rejected_symbols("c-1") == []
    assert _emitted(feed.pass_s(60), "B")[-1] == (60_000, 55_000)


def test_a_symbol_that_is_added_is_reported_from_its_minute_on() -> None:
    feed = _Feed(now=-60_000)
    feed.session.connected("c-1")
    feed.pass_s(70)
    feed.session.add(["C", "A"])
    assert feed.session.symbols == ("A", "B", "C")
    feed.pass_s(1)
    feed.session.subscribed("c-1", ["C"])
    assert _emitted(feed.pass_s(55), "C") == [(0, 49_000)]


def test_a_symbol_that_is_removed_is_reported_to_the_end_of_its_allowed_lateness() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(20)
    feed.session.remove(["B", "X"])
    assert feed.session.symbols == ("A",)
    made = feed.pass_s(1_200, PING)
    assert _emitted(made, "B")[:2] == [(0, 20_000), (60_000, 0)]
    last = [m for m in made if isinstance(m, Watermark) and m.symbol == "B"][-1]
    assert last.t == M + 60_000 + 900_000
    assert feed.session.disconnected("c-1") == []


def test_a_symbol_that_was_removed_and_added_again_is_reported_without_a_break() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(20)
    feed.session.remove(["B"])
    feed.pass_s(70)
    feed.session.add(["B"])
    feed.session.subscribed("c-1", ["B"])
    made = feed.pass_s(1_200)
    assert _emitted(made, "B")[0] == (60_000, 30_000)
    assert [m for m in made if isinstance(m, Watermark) and m.symbol == "B"][-1].t > M + 1_200_000


def test_minutes_longer_ago_than_the_allowed_lateness_are_corrected_as_one() -> None:
    feed = _Feed(is_open=True)
    feed.session.connected("c-1")
    feed.trades(*range(10))
    for number in range(16):
        feed.trades(number)
        feed.pass_s(120)  # a trade every two minutes: 40 minutes of silence are no chance
    at = feed.clock.now_ms() - M - 120_000
    feed.pass_s(2_500, PING)
    made = feed.session.disconnected("c-1")
    gaps = [m for m in made if isinstance(m, Watermark) and m.gap_since and m.symbol == "A"]
    assert [m.gap_since for m in gaps] == [M + at - at % 60_000 + 60_000]
    assert (
        min(minute for minute, _ in _emitted(made)[1:]) == (gaps[0].minute_start or 0) - M + 60_000
    )


def test_who_was_stopped_for_a_minute_has_not_received() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(5)
    feed.clock.move_forward(SUSPENDED_MS + 1_000)
    assert _emitted(feed.session.each_second())[0] == (0, 5_000)
    assert _emitted(feed.pass_s(60))[-1] == (60_000, 54_000)


def _frame(*trades: tuple[str, int]) -> bytes:
    """A frame of trades: symbol, ms from M on."""
    data = [{"s": symbol, "p": 1, "v": 1, "t": M + t} for symbol, t in trades]
    return json.dumps({"data": data, "type": "trade"}).encode()


def test_trades_of_a_symbol_that_was_never_subscribed_are_rejected_with_their_indices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    frame = _frame(("X", 1), ("A", 2), ("A.B", 3), ("X", 4))
    made = feed.session.frame(frame, "c-1")
    (kept,) = [m for m in made if isinstance(m, Trades)]
    assert (kept.symbol, [(trade.i, trade.k) for trade in kept.trades]) == ("A", [(1, 0)])
    (record,) = [m for m in made if isinstance(m, RejectionRecord)]
    assert (record.stage, record.reason, record.indices) == ("feed", "unsubscribed", [0, 2, 3])
    assert record.payload == base64.b64encode(frame).decode()
    assert "X" in record.detail
    assert (feed.session.counts["trades"], feed.session.counts["rejected_trades"]) == (1, 3)
    assert {m.symbol for m in feed.pass_s(70) if isinstance(m, Watermark)} == {"A", "B"}
    feed.session.frame(_frame(("X", 5), ("A.B", 6)), "c-1")
    named = [record.getMessage().split()[2] for record in caplog.records]
    assert named == ["X,", "A.B,"]


def test_a_frame_of_nothing_that_was_subscribed_reports_nothing_about_the_clock() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    made = feed.session.frame(_frame(*[("X", 300_000)] * 5), "c-1")
    assert [type(m) for m in made] == [RejectionRecord]
    assert feed.clock.now_ms() == M
    assert feed.session.activity.last_ms("X") is None


def test_each_rejection_of_a_frame_is_a_record_of_its_own() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    bad = b'{"data":[{"s":"X","p":1,"v":1,"t":%d},{"s":"A","p":-1,"v":1,"t":1}],"type":"trade"}'
    made = feed.session.frame(bad % M, "c-1")
    records = [m for m in made if isinstance(m, RejectionRecord)]
    assert {(m.reason, *(m.indices or ())) for m in records} == {("unsubscribed", 0), ("range", 1)}
    assert [m.payload is None for m in records] == [False, True]


def test_a_symbol_that_is_added_is_taken_from_then_on() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.session.frame(_frame(("C", 1)), "c-1")
    feed.session.add(["C"])
    feed.session.subscribed("c-1", ["C"])
    (message,) = feed.session.frame(_frame(("C", 1), ("C", 2)), "c-1")
    assert isinstance(message, Trades)
    assert [trade.k for trade in message.trades] == [0, 0], "what was rejected is no earlier twin"


def test_trades_of_a_removed_symbol_are_taken_as_long_as_its_minutes_become_final() -> None:
    feed = _Feed()
    feed.session.connected("c-1")
    feed.pass_s(20)
    feed.session.remove(["B"])
    taken: list[int] = []
    watermarks: list[int] = []
    for second in range(21, 1_200):
        feed.clock.move_forward(1_000)
        made = feed.session.frame(_frame(("B", second * 1_000)), "c-1")
        taken += [trade.t - M for m in made if isinstance(m, Trades) for trade in m.trades]
        made += feed.session.each_second()
        watermarks += [m.t - M for m in made if isinstance(m, Watermark) and m.symbol == "B"]
    assert taken == [*range(21_000, 60_000 + 900_000, 1_000)]
    assert max(watermarks) == 60_000 + 900_000
