"""Watermarks and coverage: what is promised when, through ends, stalls and restarts."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Watermark, encode
from app.feeds.live.coverage import Coverage, CoverageCheckpoint, load_checkpoint, store_checkpoint
from app.feeds.live.session_config import SessionConfig
from app.feeds.live.watermarks import Watermarks
from app.feeds.messages.outgoing import LostSpan
from app.message_parser import decode

M = 1_731_600_060_000
"""The start of a minute."""
MINUTE, GRACE, LATENESS = 60_000, 5_000, 900_000


class _Producer:
    """Watermarks driven by a clock in ms from M on."""

    def __init__(
        self, now: int, *symbols: str, checkpoint: CoverageCheckpoint | None = None
    ) -> None:
        self.symbols = symbols or ("A",)
        self.newest: int | None = None
        self.watermarks = Watermarks(
            SessionConfig(feed="live", source="src", grace_ms=GRACE, allowed_lateness_ms=LATENESS),
            symbols=self.symbols,
            now_ms=M + now,
            newest_t=self._newest_t,
            checkpoint=checkpoint,
        )

    def _newest_t(self, symbol: str, now_ms: int) -> int:
        return now_ms if self.newest is None else M + self.newest

    def connect(self, now: int) -> None:
        self.watermarks.connected(self.symbols, M + now)

    def end(self, now: int, since: int | None = None) -> list[Watermark]:
        at = now if since is None else since
        return self.watermarks.disconnected(self.symbols, M + at, M + now)

    def silent(self, start: int, end: int, now: int) -> list[Watermark]:
        return self.watermarks.silent(self.symbols, M + start, M + end, M + now)

    def second(self, now: int, newest: int | None = None) -> list[Watermark]:
        self.newest = newest
        return self.watermarks.each_second(M + now)

    def lose(self, now: int, start: int | None, end: int | None, symbol: str | None = "A") -> Any:
        from_ms = None if start is None else M + start
        lost = LostSpan(symbol, from_ms, None if end is None else M + end)
        return self.watermarks.lost(lost, M + now)


def _emitted(messages: list[Watermark]) -> list[tuple[int, int | None]]:
    """Minute (in ms from M on) and coverage."""
    return [((m.minute_start or 0) - M, m.covered_ms) for m in messages]


def test_a_minute_is_reported_when_its_end_and_the_grace_have_come() -> None:
    producer = _Producer(0)
    producer.connect(1_000)
    assert producer.second(64_999) == []
    (message,) = producer.second(65_000)
    assert message == Watermark("A", "live", "src", M + 65_000, M + 60_000, M, 59_000)
    assert producer.second(66_000) == []


def test_every_subscribed_symbol_is_reported_without_any_trade() -> None:
    producer = _Producer(0, "A", "B")
    assert [m.symbol for m in producer.second(65_000)] == ["A", "B"]


def test_a_symbol_that_traded_is_reported_within_a_second_and_then_no_more() -> None:
    producer = _Producer(0, "A", "B")
    producer.connect(0)
    producer.watermarks.traded(["B", "UNKNOWN"])
    (message,) = producer.second(10_000)
    assert (message.symbol, message.t - M, message.covered_ms) == ("B", 5_000, 10_000)
    assert producer.second(11_000) == []


def test_a_gap_is_not_covered() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert producer.end(20_000) == []
    producer.connect(50_000)
    assert _emitted(producer.second(65_000)) == [(0, 30_000)]


def test_a_stall_found_later_corrects_the_minutes_that_were_reported() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert _emitted(producer.second(65_000)) == [(0, 60_000)]
    assert _emitted(producer.second(125_000)) == [(60_000, 60_000)]
    corrections = producer.end(since=30_000, now=210_000)
    assert _emitted(corrections) == [(0, 30_000), (60_000, 0)]
    assert [m.t - M for m in corrections] == [205_000, 205_000]
    assert _emitted(producer.second(210_000)) == [(120_000, 0)]


def test_the_watermark_never_falls_and_waits_for_a_late_feed() -> None:
    producer = _Producer(0)
    times = []
    for now, newest in ((70_000, 70_000), (71_000, 40_000), (72_000, 71_000), (140_000, 75_500)):
        producer.watermarks.traded(["A"])
        times += [m.t - M for m in producer.second(now, newest)]
    assert times == [65_000, 65_000, 65_000, 66_000, 70_500, 70_500]


def test_a_clock_that_was_moved_forward_covers_no_more_than_was_received() -> None:
    producer = _Producer(0)
    producer.connect(0)
    producer.watermarks.moved_forward(M, 30_000)
    assert _emitted(producer.second(65_000)) == [(0, 30_000)]


@pytest.mark.parametrize("moved_at", [61_000, 66_000])
def test_what_was_received_before_a_clock_was_moved_stays_covered(moved_at: int) -> None:
    producer = _Producer(0)
    producer.connect(47_000)
    emitted = producer.second(moved_at)
    producer.watermarks.moved_forward(M + moved_at, 21_000)
    emitted += producer.second(90_000)
    assert _emitted(emitted) == [(0, 13_000)]
    assert _emitted(producer.second(125_000)) == [(60_000, 39_000)]
    assert producer.end(126_000) == []


def test_a_stall_that_began_before_a_clock_was_moved_corrects_from_its_beginning() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert _emitted(producer.second(65_000)) == [(0, 60_000)]
    producer.watermarks.moved_forward(M + 66_000, 20_000)
    producer.watermarks.moved_forward(M + 90_000, 10_000)
    assert _emitted(producer.second(130_000)) == [(60_000, 30_000)]
    corrections = producer.end(since=80_000, now=140_000)  # it said 50_000 then
    assert _emitted(corrections) == [(0, 50_000), (60_000, 0)]


def test_what_was_lost_in_the_midst_of_a_connection_corrects_only_its_minutes() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert _emitted(producer.second(65_000)) == [(0, 60_000)]
    assert _emitted(producer.second(125_000)) == [(60_000, 60_000)]
    assert _emitted(producer.second(185_000)) == [(120_000, 60_000)]
    corrections = producer.silent(90_000, 150_000, now=186_000)
    assert _emitted(corrections) == [(60_000, 30_000), (120_000, 30_000)]
    assert producer.silent(90_000, 150_000, now=187_000) == [], "it is known already"
    assert producer.end(188_000) == []


def test_what_was_lost_while_the_clock_was_moved_is_cut_where_it_reported_so() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert _emitted(producer.second(65_000)) == [(0, 60_000)]
    producer.watermarks.moved_forward(M + 66_000, 20_000)
    assert _emitted(producer.second(130_000)) == [(60_000, 40_000)]
    corrections = producer.silent(75_000, 100_000, now=131_000)  # from 55_000 on, as it was then
    assert _emitted(corrections) == [(0, 55_000), (60_000, 20_000)]


def test_minutes_lost_longer_ago_than_the_allowed_lateness_are_one_message() -> None:
    producer = _Producer(0)
    producer.connect(0)
    for now in range(0, 2 * LATENESS, 1_000):
        producer.second(now)
    corrections = producer.silent(90_000, 2 * LATENESS - 120_000, now=2 * LATENESS)
    assert corrections[0].gap_since == M + 120_000
    minutes = [minute - M for minute in _minutes(corrections)]
    assert minutes == list(range(120_000, 2 * LATENESS - 120_000, MINUTE))
    assert {m.covered_ms for m in corrections} == {0}


def test_after_a_restart_the_minute_it_died_in_comes_first_and_then_each_gap_one() -> None:
    checkpoint = CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}})
    producer = _Producer(200_000, checkpoint=checkpoint)
    messages = producer.watermarks.resume(M + 200_000)
    assert _emitted(messages) == [(0, 20_000), (60_000, 0), (120_000, 0), (180_000, 0)]
    assert [m.t - M for m in messages] == [60_000, 120_000, 195_000, 195_000]
    assert producer.second(201_000) == []


def test_minutes_gap_for_longer_than_the_allowed_lateness_are_one_message() -> None:
    checkpoint = CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}})
    now = 2 * LATENESS + 10_000
    messages = _Producer(now, checkpoint=checkpoint).watermarks.resume(M + now)
    assert _emitted(messages)[:3] == [(0, 20_000), (840_000, 0), (900_000, 0)]
    assert [m.gap_since for m in messages[:3]] == [None, M + MINUTE, None]
    assert _emitted(messages)[-1] == (2 * LATENESS, 0)


def test_a_restart_within_the_minute_adds_to_what_was_covered() -> None:
    producer = _Producer(30_000, checkpoint=CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}}))
    assert _emitted(producer.watermarks.resume(M + 30_000)) == [(0, 20_000)]
    producer.connect(40_000)
    assert _emitted(producer.second(65_000)) == [(0, 40_000)]


def test_a_restart_between_a_minutes_end_and_its_grace_reports_both_minutes() -> None:
    checkpoint = CoverageCheckpoint(M + 62_000, {"A": {M: 55_000, M + MINUTE: 2_000}})
    producer = _Producer(63_000, checkpoint=checkpoint)
    resumed = producer.watermarks.resume(M + 63_000)
    assert _emitted(resumed) == [(0, 55_000), (60_000, 2_000)]
    assert _emitted(producer.second(65_000)) == [(0, 55_000)]


def test_what_the_checkpoint_reports_is_what_was_covered_and_not_yet_reported() -> None:
    producer = _Producer(0)
    producer.connect(5_000)
    assert producer.watermarks.checkpoint(M + 62_000) == CoverageCheckpoint(
        M + 62_000, {"A": {M: 55_000, M + 60_000: 2_000}}
    )
    producer.second(65_000)
    assert producer.watermarks.checkpoint(M + 66_000) == CoverageCheckpoint(
        M + 66_000, {"A": {M + 60_000: 6_000}}
    )


def test_a_removed_symbol_is_reported_until_its_last_minutes_end_and_the_allowed_lateness() -> None:
    checkpoint = CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}, "GONE": {M: 20_000}})
    producer = _Producer(30_000, "A", checkpoint=checkpoint)
    emitted = [m for now in range(30_000, 1_200_000, 1_000) for m in producer.second(now)]
    gone = [m for m in emitted if m.symbol == "GONE"]
    assert _emitted(gone)[:2] == [(0, 20_000), (60_000, 0)]
    assert gone[-1].t - M == MINUTE + LATENESS
    assert max(m.t for m in emitted if m.symbol == "A") > gone[-1].t


def test_a_removed_symbol_of_a_late_feed_is_reported_as_far_as_its_trades_may_come() -> None:
    producer = _Producer(0, "A", "B")
    producer.watermarks.remove(["B"], M + 30_000)
    emitted = [m for now in range(0, 1_200_000, 1_000) for m in producer.second(now, now - 120_000)]
    assert max(m.t for m in emitted if m.symbol == "B") - M >= MINUTE + LATENESS
    assert producer.watermarks.end_ms("B") == 0


def test_a_symbol_new_since_the_restart_is_not_reported_as_gap_before() -> None:
    producer = _Producer(
        200_000, "A", "NEW", checkpoint=CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}})
    )
    messages = producer.watermarks.resume(M + 200_000)
    assert _emitted([m for m in messages if m.symbol == "NEW"]) == [(180_000, 0)]


def test_a_checkpoint_from_the_future_is_not_believed() -> None:
    producer = _Producer(
        0, checkpoint=CoverageCheckpoint(M + 3_600_000, {"A": {M + 3_600_000: 5_000}})
    )
    assert producer.watermarks.resume(M) == []
    assert _emitted(producer.second(65_000)) == [(0, 0)]


def test_a_checkpoint_is_read_as_it_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    assert load_checkpoint(path) is None
    checkpoint = CoverageCheckpoint(M, {"BINANCE:BTCUSDT": {M: 1, M + MINUTE: 2}}, moved_ms=300_000)
    store_checkpoint(path, checkpoint)
    assert load_checkpoint(path) == checkpoint
    path.write_text(f'{{"at_ms":{M},"covered":{{"A":{{"{M}":1}}}}}}')
    assert load_checkpoint(path) == CoverageCheckpoint(M, {"A": {M: 1}}, moved_ms=0), "an older one"
    path.write_text("{}")
    with pytest.raises(msgspec.ValidationError):
        load_checkpoint(path)


@given(st.lists(st.integers(0, 300), min_size=2, max_size=12, unique=True).map(sorted))
def test_coverage_is_the_time_between_opening_and_closing(ends_s: list[int]) -> None:
    coverage = Coverage()
    received_s: set[int] = set()
    for start_s, end_s in zip(ends_s[::2], ends_s[1::2], strict=False):
        coverage.open(M + start_s * 1000)
        coverage.close(M + end_s * 1000)
        received_s |= set(range(start_s, end_s))
    for minute in range(5):
        wanted_s = sum(minute * 60 <= second < (minute + 1) * 60 for second in received_s)
        assert coverage.covered_ms(M + minute * MINUTE, M + 400_000) == wanted_s * 1000


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "close", "move", "cut"]), st.integers(1, 50)),
        max_size=20,
    )
)
def test_coverage_is_what_the_clock_reported_while_the_feed_was_received(
    steps: list[tuple[str, int]],
) -> None:
    coverage, now_s, is_open = Coverage(), 0, False
    received_s: set[int] = set()
    for what, passed_s in steps:
        received_s |= set(range(now_s, now_s + passed_s)) if is_open else set()
        now_s += passed_s
        if what == "cut":
            coverage.cut(M + (now_s - passed_s) * 1000, M + now_s * 1000)
            received_s -= set(range(now_s - passed_s, now_s))
        elif what == "move":
            coverage.moved_forward(M + now_s * 1000, 25_000)
            now_s += 25
        elif what == "open":
            coverage.open(M + now_s * 1000)
            is_open = True
        else:
            coverage.close(M + now_s * 1000)
            is_open = False
    for minute in range(now_s // 60 + 1):
        wanted_s = sum(second // 60 == minute for second in received_s)
        assert coverage.covered_ms(M + minute * MINUTE, M + now_s * 1000) == wanted_s * 1000


@given(
    st.lists(
        st.tuples(st.sampled_from(["up", "down", "trade", "second"]), st.integers(1, 150_000)),
        max_size=40,
    )
)
def test_each_minute_is_reported_before_anything_later_and_no_watermark_falls(
    steps: list[tuple[str, int]],
) -> None:
    producer, now, open_since = _Producer(0), 0, None
    last_t, emitted = 0, {}
    for what, pause in steps:
        now += pause
        messages: list[Watermark] = []
        if what == "up":
            producer.connect(now)
            open_since = now if open_since is None else open_since
        elif what == "down":
            messages += producer.end(now)
            open_since = None
        elif what == "trade":
            messages += producer.watermarks.minutes(M + now)
            producer.watermarks.traded(["A"])
            for minute in range(0, now - GRACE - MINUTE + 1, MINUTE):
                assert {minute} <= emitted.keys() | {m - M for m in _minutes(messages)}
        else:
            messages += producer.second(now)
        for m in messages:
            assert decode(b"A", encode(m), "live").message == m
            assert m.t >= last_t
            last_t = m.t
            for minute in _minutes([m]):
                emitted[minute - M] = m.covered_ms


def _minutes(messages: list[Watermark]) -> list[int]:
    """The minutes that `messages` report, those of a gap included."""
    return [
        minute
        for m in messages
        if m.minute_start is not None
        for minute in range(m.gap_since or m.minute_start, m.minute_start + 1, MINUTE)
    ]


def test_what_is_lost_on_the_way_is_not_covered() -> None:
    producer = _Producer(0, "A", "B")
    producer.connect(0)
    assert producer.lose(40_000, 30_000, 30_100) == []
    assert _emitted(producer.second(65_000)) == [(0, 59_900), (0, 60_000)]


def test_a_loss_in_a_minute_that_was_sent_corrects_it() -> None:
    producer = _Producer(0)
    producer.connect(0)
    producer.second(65_000)
    producer.second(125_000)
    messages = producer.lose(130_000, 59_000, 60_100)
    assert _emitted(messages) == [(0, 59_000), (60_000, 59_900)]
    assert producer.lose(131_000, 59_000, 60_100) == [], "it is known"
    assert producer.watermarks.checkpoint(M + 130_000).covered["A"] == {M + 120_000: 10_000}


def test_a_loss_before_a_connection_was_closed_is_not_covered_either() -> None:
    producer = _Producer(0)
    producer.connect(0)
    producer.end(20_000)
    producer.connect(25_000)
    producer.lose(50_000, 19_000, 26_000)
    ((_, covered),) = _emitted(producer.second(65_000))
    received, silent = 19_000 + 34_000, 5_000
    assert covered is not None
    assert received - silent <= covered <= received, "rather too little than too much"


def test_a_loss_in_minutes_that_are_discarded_leaves_nothing_of_them_covered() -> None:
    now = 1_800_000
    producer = _Producer(0)
    producer.connect(0)
    for at in range(65_000, now, 60_000):
        producer.second(at)
    oldest = min(minute for minute, _ in _emitted(producer.lose(now, 0, now)) if minute)
    (first, *rest) = producer.lose(now, 0, now)
    assert (first.gap_since, first.covered_ms) == (M, 0)
    assert rest == []
    assert oldest <= now - LATENESS


def test_of_what_an_earlier_run_sent_nothing_lost_counts_as_covered() -> None:
    checkpoint = CoverageCheckpoint(M + 20_000, {"A": {M: 20_000}, "B": {M: 20_000}})
    producer = _Producer(200_000, "A", "B", checkpoint=checkpoint)
    producer.watermarks.resume(M + 200_000)
    messages = producer.lose(201_000, -90_000, 10_000, symbol=None)
    of_a = [message for message in messages if message.symbol == "A"]
    assert [(m.gap_since, (m.minute_start or 0) - M, m.covered_ms) for m in of_a] == [
        (M - 120_000, -60_000, 0),
        (None, 0, 10_000),
    ]
    assert len(messages) == 2 * len(of_a)


def test_a_loss_without_beginning_or_end_reaches_from_the_allowed_lateness_to_now() -> None:
    producer = _Producer(0)
    producer.connect(0)
    for at in range(65_000, 365_000, 60_000):
        producer.second(at)
    producer.lose(330_000, None, None, symbol=None)
    assert producer.watermarks.checkpoint(M + 330_000).covered["A"] == {M + 300_000: 0}


def test_a_loss_of_a_symbol_that_is_gone_changes_nothing() -> None:
    producer = _Producer(0)
    producer.connect(0)
    assert producer.lose(10_000, 0, 10_000, symbol="GONE") == []


@given(
    st.lists(st.integers(0, 300), min_size=2, max_size=8, unique=True).map(sorted),
    st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted),
)
def test_nothing_lost_is_covered_and_what_is_left_is_never_more_than_was_received(
    ends_s: list[int], lost_s: list[int]
) -> None:
    coverage = Coverage()
    received_s: set[int] = set()
    for start_s, end_s in zip(ends_s[::2], ends_s[1::2], strict=False):
        coverage.open(M + start_s * 1000)
        coverage.close(M + end_s * 1000)
        received_s |= set(range(start_s, end_s))
    if len(ends_s) % 2:
        coverage.open(M + ends_s[-1] * 1000)
        received_s |= set(range(ends_s[-1], 301))
    lost = set(range(*lost_s))
    coverage.lose(M + lost_s[0] * 1000, M + lost_s[1] * 1000)
    for minute in range(6):
        seconds = set(range(minute * 60, minute * 60 + 60))
        covered_s = coverage.covered_ms(M + minute * MINUTE, M + 301_000) / 1000
        assert covered_s <= len(seconds & received_s - lost)
        assert covered_s >= len(seconds & received_s) - len(seconds & lost)


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_position_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.json"
    force, rename = os.fsync, Path.replace
    done: list[tuple[str, int]] = []

    def fsync(file: int) -> None:
        force(file)
        done.append(("forced", os.fstat(file).st_ino))

    def replace(new: Path, target: Path) -> Path:
        done.append(("renamed", new.stat().st_ino))
        return rename(new, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    store_checkpoint(path, CoverageCheckpoint(M, {"A": {M: 1}}))
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert done == [("forced", file), ("renamed", file), ("forced", folder)]


def test_a_checkpoint_that_the_disk_rejects_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old = tmp_path / "checkpoint.json", CoverageCheckpoint(M, {"A": {M: 1}})
    store_checkpoint(path, old)

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        store_checkpoint(path, CoverageCheckpoint(M + 1, {}))
    assert load_checkpoint(path) == old
