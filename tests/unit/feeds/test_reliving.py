"""A recording lived through again is what was lived through when it was made."""

from __future__ import annotations

import json
from pathlib import Path

from app.contracts import Trades, Watermark
from app.feeds.clock import ManualClock
from app.feeds.coverage import Mark
from app.feeds.intake import Intake, Outgoing
from app.feeds.recording import Recorder, read_recording
from app.feeds.reliving import relive, what_is_in
from app.feeds.tradefile import Span

M = 1_731_600_060_000


class _Life:
    """A run of a producer that is recorded; what it made is in `made`."""

    def __init__(self, path: Path, now: int, mark: Mark | None = None) -> None:
        self.clock = ManualClock(M + now)
        self.recorder = Recorder(path, self.clock)
        self.intake = Intake(
            feed="live",
            source="src",
            symbols=("A", "B"),
            grace_ms=5_000,
            horizon_ms=900_000,
            clock=self.clock,
            mark=mark,
        )
        self.recorder.started("live", ("A", "B"))
        self.made: list[Outgoing] = self.intake.resume()

    def open(self, connection: str) -> None:
        self.intake.connected(connection)
        self.recorder.opened(connection, self.intake.symbols)

    def close(self, connection: str) -> None:
        self.recorder.closed(connection)
        self.made += self.intake.disconnected(connection)

    def hear(self, connection: str, *times: int, symbol: str = "A") -> None:
        data = [{"s": symbol, "p": 1, "v": 1, "t": M + t} for t in times]
        raw = json.dumps({"data": data, "type": "trade"}).encode()
        self.recorder.frame(connection, raw)
        self.made += self.intake.frame(raw, connection)

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.move_forward(1_000)
            self.recorder.second()
            self.made += self.intake.each_second()


def _again(path: Path) -> list[Outgoing]:
    lived = relive(
        read_recording(path), feed="live", source="src", grace_ms=5_000, horizon_ms=900_000
    )
    return [message for _, messages in lived for message in messages]


def test_everything_that_can_happen_happens_again(tmp_path: Path) -> None:
    path = tmp_path / "day.gz"
    first = _Life(path, 0)
    first.open("c-1")
    first.pass_s(10)
    first.hear("c-1", 9_990, 9_991, 9_990)
    first.hear("c-1", 9_990, 9_991, 9_990)
    first.pass_s(40)
    first.close("c-1")
    first.pass_s(20)
    first.open("c-2")
    first.hear("c-2", 95_000, 95_000, 95_000)  # the clock is behind by 25 s
    first.intake.add(["C"])
    first.intake.remove(["B"])
    first.recorder.changed(["C"], ["B"])
    first.intake.subscribed("c-2", ["C"])
    first.recorder.subscribed("c-2", ["C"])
    first.pass_s(30)
    first.recorder.refused("c-2", ["A"])
    first.made += first.intake.refuse("c-2", ["A"])
    first.clock.move_forward(300_000)  # a sleep
    first.pass_s(20)
    first.recorder.close()
    second = _Life(path, 600_000, first.intake.mark())
    second.open("c-1")
    second.hear("c-1", 600_000, symbol="B")
    second.pass_s(70)
    second.recorder.close()
    assert _again(path) == first.made + second.made
    assert {type(message) for message in first.made} == {Trades, Watermark}
    assert what_is_in(read_recording(path)) == (
        {"A", "B", "C"},
        Span(4, M, M + 670_000),
    )


def test_an_empty_recording_holds_nothing(tmp_path: Path) -> None:
    Recorder(tmp_path / "day.gz", ManualClock(M)).flush()
    assert what_is_in(read_recording(tmp_path / "day.gz")) is None
    assert _again(tmp_path / "day.gz") == []
