"""Playing back a recording gives the messages of the run that was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.contracts import FeedName, Quote, RejectionRecord, Trades, Watermark
from app.feeds.clock import ManualClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.finnhub.vendor import FinnhubParser
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.recorder import Recorder
from app.feeds.live.recording_file import RecordingError
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing
from app.feeds.messages.quotes import quote_messages
from app.feeds.replay.playback import play_back, summarize
from app.feeds.replay.recording import read_recording
from app.feeds.replay.trade_file import RowSpan

M = 1_731_600_060_000


class _ProducerRun:
    """A run of a producer that is recorded; what it made is in `made`."""

    def __init__(
        self,
        path: Path,
        now: int,
        checkpoint: CoverageCheckpoint | None = None,
        feed: FeedName = "live",
    ) -> None:
        self.clock = ManualClock(M + now)
        self.recorder = Recorder(path, self.clock)
        self.session = FeedSession(
            SessionConfig(feed=feed, source="src", grace_ms=5_000, allowed_lateness_ms=900_000),
            parse_frame=parse_frame,
            symbols=("A", "B"),
            clock=self.clock,
            checkpoint=checkpoint,
        )
        self.recorder.started(feed, ("A", "B"))
        self.made: list[Outgoing] = self.session.resume()

    def open(self, connection: str) -> None:
        self.session.connected(connection)
        self.recorder.opened(connection, self.session.symbols)

    def close(self, connection: str) -> None:
        self.recorder.closed(connection)
        self.made += self.session.disconnected(connection)

    def receive(self, connection: str, *times: int, symbol: str = "A") -> None:
        data = [{"s": symbol, "p": 1, "v": 1, "t": M + t} for t in times]
        raw = json.dumps({"data": data, "type": "trade"}).encode()
        self.recorder.frame(connection, raw)
        self.made += self.session.frame(raw, connection)

    def ask(self, symbol: str, answer: Any) -> None:
        at_ms = self.clock.now_ms()
        self.recorder.quote(symbol, json.dumps(answer), at_ms)
        self.made += quote_messages(
            answer, parse_quote, symbol=symbol, feed="live", source="src", received_at=at_ms
        )

    def date(self, t: int) -> None:
        """The server gives its time, `t` ms from M on."""
        at_ms = self.clock.now_ms()
        self.recorder.date(M + t, at_ms - 100, at_ms)
        self.made += self.session.server_date(M + t, at_ms - 100, at_ms)

    def stop(self) -> None:
        self.made += self.session.end()
        self.recorder.close()

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.move_forward(1_000)
            self.recorder.second()
            self.made += self.session.each_second()


def _again(path: Path, feed: FeedName = "live") -> list[Outgoing]:
    played = play_back(
        read_recording(path),
        FinnhubParser(),
        SessionConfig(feed=feed, source="src", grace_ms=5_000, allowed_lateness_ms=900_000),
    )
    return [message for _, messages in played for message in messages]


def test_all_of_it_that_can_happen_happens_again(tmp_path: Path) -> None:
    path = tmp_path / "day.gz"
    first = _ProducerRun(path, 0)
    first.open("c-1")
    first.pass_s(10)
    first.receive("c-1", 9_990, 9_991, 9_990)
    first.receive("c-1", 9_990, 9_991, 9_990)
    first.pass_s(40)
    first.close("c-1")
    first.pass_s(20)
    first.open("c-2")
    first.date(95_000)  # the clock is behind by 25 s
    first.receive("c-2", 95_000, 95_000, 95_000)
    assert first.clock.now_ms() == M + 95_000
    first.session.add(["C"])
    first.session.remove(["B"])
    first.recorder.changed(["C"], ["B"])
    first.session.subscribed("c-2", ["C"])
    first.recorder.subscribed("c-2", ["C"])
    first.pass_s(30)
    first.recorder.rejected("c-2", ["A"])
    first.made += first.session.reject_symbols("c-2", ["A"])
    first.clock.move_forward(300_000)  # a sleep
    first.pass_s(20)
    first.receive("c-2", 9_000_000, symbol="C")  # held until it stops
    first.stop()
    second = _ProducerRun(path, 600_000, first.session.checkpoint())
    second.open("c-1")
    second.receive("c-1", 600_000, symbol="B")
    second.receive("c-1", 670_000, 670_001)  # held until it is less than a minute ahead
    second.receive("c-1", 9_000_000, symbol="B")  # held until the server gives its time
    second.pass_s(15)
    second.date(615_000)
    second.pass_s(55)
    second.stop()
    assert _again(path) == first.made + second.made
    assert {type(message) for message in first.made} == {Trades, Watermark, RejectionRecord}
    (rejected,) = [message for message in second.made if isinstance(message, RejectionRecord)]
    assert rejected.reason == "future"
    (held,) = [m for m in second.made if isinstance(m, Trades) and len(m.trades) == 2]
    assert held.received_at == M + 611_000
    assert summarize(read_recording(path)) == (
        {"A", "B", "C"},
        RowSpan(7, M, M + 670_000),
    )


def test_a_silence_that_ended_by_itself_is_judged_the_same_again(tmp_path: Path) -> None:
    recorded = _ProducerRun(tmp_path / "day.gz", 0, feed="simulated")

    def go_on(from_s: int, to_s: int) -> None:
        for second in range(from_s, to_s):
            recorded.pass_s(1)
            for symbol in ("A", "B"):
                recorded.receive("c-1", second * 1_000, second * 1_000 + 1, symbol=symbol)

    recorded.open("c-1")
    go_on(1, 50)
    recorded.pass_s(30)
    go_on(80, 140)
    recorded.recorder.close()
    assert _again(tmp_path / "day.gz", "simulated") == recorded.made
    first = [
        m.covered_ms for m in recorded.made if isinstance(m, Watermark) and m.minute_start == M
    ]
    assert first[-1] == 49_000


def test_what_was_rejected_as_unsubscribed_is_so_again(tmp_path: Path) -> None:
    recorded = _ProducerRun(tmp_path / "day.gz", 0)
    recorded.open("c-1")
    recorded.receive("c-1", 1, symbol="C")
    recorded.session.add(["C"])
    recorded.session.remove(["B"])
    recorded.recorder.changed(["C"], ["B"])
    recorded.session.subscribed("c-1", ["C"])
    recorded.recorder.subscribed("c-1", ["C"])
    recorded.receive("c-1", 2, symbol="C")
    recorded.receive("c-1", 3, symbol="B")
    recorded.pass_s(1_000)
    recorded.receive("c-1", 1_000_000, symbol="B")
    recorded.recorder.close()
    assert _again(tmp_path / "day.gz") == recorded.made
    reasons = [m.reason for m in recorded.made if isinstance(m, RejectionRecord)]
    assert reasons == ["unsubscribed", "unsubscribed"]


QUOTE = {"c": 1.25, "d": None, "dp": 0.1, "h": 2, "l": 1, "o": 1, "pc": 1, "t": M // 1000}


def test_quotes_come_again_among_the_frames_when_they_came(tmp_path: Path) -> None:
    path = tmp_path / "day.gz"
    recorded = _ProducerRun(path, 0)
    recorded.open("c-1")
    recorded.pass_s(10)
    recorded.ask("A", QUOTE)
    recorded.receive("c-1", 10_000)
    recorded.pass_s(20)
    recorded.ask("B", QUOTE | {"c": "1"})
    recorded.ask("B", QUOTE | {"c": 0, "t": 0})
    recorded.ask("B", QUOTE | {"c": 1.5})
    recorded.pass_s(60)
    recorded.recorder.close()
    assert _again(path) == recorded.made
    quotes = [(m.symbol, m.received_at - M) for m in recorded.made if isinstance(m, Quote)]
    assert quotes == [("A", 10_000), ("B", 30_000)]
    assert [m.stage for m in recorded.made if isinstance(m, RejectionRecord)] == ["feed"]


def test_a_quote_that_is_no_json_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "day.gz", ManualClock(M))
    recorder.started("live", ["A"])
    recorder.quote("A", "{", M)
    recorder.close()
    with pytest.raises(RecordingError, match=r"quote of A at .* is not JSON"):
        _again(tmp_path / "day.gz")


def test_an_empty_recording_holds_nothing(tmp_path: Path) -> None:
    Recorder(tmp_path / "day.gz", ManualClock(M)).flush()
    assert summarize(read_recording(tmp_path / "day.gz")) is None
    assert _again(tmp_path / "day.gz") == []
