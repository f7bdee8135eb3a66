"""The pace of a replay in virtual time, and the files that steer it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.feeds.replay.control import (
    EXPIRED_MS,
    ReplayCommand,
    ReplayControl,
    controlled,
    read_state,
    send_command,
)
from app.feeds.replay.pacing import Pacer

S = 1_000
FIRST = 1_790_000_000_000
Steps = list[tuple[float, Callable[[Pacer], None]]]


class VirtualTime:
    """A clock that advances when somebody waits; `steps` are run when their second comes.

    :param steps: ordered pairs of a second and what is done then.
    """

    def __init__(self, steps: Steps) -> None:
        self.now_s = 0.0
        self.pacer = Pacer(FIRST, FIRST + 60 * S, 1.0, lambda: self.now_s, self.wait)
        self._steps = list(steps)

    def wait(self, changed: threading.Condition, seconds: float | None) -> None:
        if self._steps and (seconds is None or self._steps[0][0] <= self.now_s + seconds):
            self.now_s, step = self._steps.pop(0)
            step(self.pacer)
        else:
            assert seconds is not None, "it waits for ever"
            self.now_s += seconds


def played(*steps: tuple[float, Callable[[Pacer], None]]) -> dict[int, float]:
    """When each of the events at 0, 10, ... 60 s is handed out."""
    time = VirtualTime(list(steps))
    events = range(0, 61, 10)
    return {
        event: round(time.now_s, 3)
        for event in time.pacer.due(events, lambda event: FIRST + event * S)
    }


def test_events_come_at_the_times_at_which_they_happened() -> None:
    assert played() == {0: 0, 10: 10, 20: 20, 30: 30, 40: 40, 50: 50, 60: 60}


def test_during_a_pause_no_time_passes() -> None:
    times = played(
        (15, lambda pacer: pacer.set_paused(True)),
        (1_015, lambda pacer: pacer.set_paused(False)),
    )
    assert times == {0: 0, 10: 10, 20: 1_020, 30: 1_030, 40: 1_040, 50: 1_050, 60: 1_060}


def test_another_speed_counts_from_the_moment_of_the_change() -> None:
    times = played((15, lambda pacer: pacer.set_speed(5)))
    assert times == {0: 0, 10: 10, 20: 16, 30: 18, 40: 20, 50: 22, 60: 24}


def test_what_is_before_a_later_time_comes_at_once() -> None:
    times = played((15, lambda pacer: pacer.skip_to(FIRST + 45 * S)))
    assert times == {0: 0, 10: 10, 20: 15, 30: 15, 40: 15, 50: 20, 60: 30}


def test_a_skip_while_paused_plays_to_there_and_stays_paused() -> None:
    times = played(
        (15, lambda pacer: pacer.set_paused(True)),
        (20, lambda pacer: pacer.skip_to(FIRST + 45 * S)),
        (100, lambda pacer: pacer.set_paused(False)),
    )
    assert times == {0: 0, 10: 10, 20: 20, 30: 20, 40: 20, 50: 105, 60: 115}


def test_it_never_goes_back_nor_past_the_end() -> None:
    assert played((15, lambda pacer: pacer.skip_to(FIRST))) == played()
    assert played((15, lambda pacer: pacer.skip_to(FIRST + 10**12)))[60] == 15


def test_the_position_stands_still_while_paused_and_waits_for_slow_readers() -> None:
    time = VirtualTime([])
    events = time.pacer.due([0, 20], lambda event: FIRST + event * S)
    assert time.pacer.position_ms() == FIRST
    next(events)
    time.now_s = 7
    assert time.pacer.position_ms() == FIRST  # nothing later has been handed out
    assert next(events) == 20
    assert time.pacer.position_ms() == FIRST + 20 * S
    time.pacer.set_paused(True)
    time.now_s = 100
    assert time.pacer.position_ms() == FIRST + 20 * S


def test_a_pause_holds_back_what_is_due_but_not_handed_out_yet() -> None:
    time = VirtualTime([(100, lambda pacer: pacer.set_paused(False))])
    events = time.pacer.due([0, 5, 20], lambda event: FIRST + event * S)
    next(events)
    assert next(events) == 5
    time.now_s = 50  # the reader has been busy
    time.pacer.set_paused(True)
    assert time.pacer.position_ms() == FIRST + 5 * S
    assert next(events) == 20
    assert time.now_s == 115


def test_commands_change_the_pace_and_are_gone_when_the_state_shows_it(tmp_path: Path) -> None:
    pacer = VirtualTime([]).pacer
    clock = [FIRST]
    control = ReplayControl(tmp_path / "replay", "day.gz", pacer, lambda: clock[0])
    control.begin()
    state = read_state(tmp_path / "replay", FIRST)
    assert state
    assert (state.file, state.position_ms, state.speed, state.paused) == ("day.gz", FIRST, 1, False)
    sent = [
        send_command(tmp_path / "replay", command)
        for command in (ReplayCommand(paused=True), ReplayCommand(speed=60, position_ms=FIRST + S))
    ]
    (tmp_path / "replay" / "0.command").write_text('{"speed": 0}')
    control.poll()
    assert (pacer.paused, pacer.speed) == (True, 60)
    assert not any(path.exists() for path in sent)
    state = read_state(tmp_path / "replay", FIRST)
    assert state
    assert (state.speed, state.paused) == (60, True)


def test_the_state_is_renewed_each_second_and_one_that_is_not_is_of_no_running_replay(
    tmp_path: Path,
) -> None:
    clock = [FIRST]
    control = ReplayControl(tmp_path, "day.gz", VirtualTime([]).pacer, lambda: clock[0])
    control.begin()
    for clock[0] in (FIRST + 999, FIRST + 1_000, FIRST + 1_500):
        control.poll()
    state = read_state(tmp_path, clock[0])
    assert state
    assert state.at == FIRST + 1_000
    assert read_state(tmp_path, state.at + EXPIRED_MS) is None
    control.end()
    assert read_state(tmp_path, state.at) is None


def test_commands_to_an_earlier_replay_are_not_obeyed(tmp_path: Path) -> None:
    send_command(tmp_path, ReplayCommand(paused=True))
    pacer = VirtualTime([]).pacer
    control = ReplayControl(tmp_path, "day.gz", pacer)
    control.begin()
    control.poll()
    assert not pacer.paused


def test_a_replay_that_fails_leaves_no_state(tmp_path: Path) -> None:
    def fail() -> None:
        with controlled(
            tmp_path, "day.gz", Pacer(FIRST, FIRST, 1.0), [0], lambda _: FIRST
        ) as events:
            for _ in events:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
