"""Parts are restarted with back-off, stopped in order, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.embedded.orphans import end_run, processes_of_run, single_run
from app.embedded.process import ChildProcess, EmbeddedError
from app.embedded.supervisor import Part, Supervisor, restart_delay_s

FOREVER = ["sleep", "600"]


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., ChildProcess]:
    def start(*command: str) -> ChildProcess:
        return ChildProcess(command, log=tmp_path / "child.log")

    return start


def wait_end(process: ChildProcess) -> None:
    process.wait_for(lambda: process.exit_code() is not None, "child", 10)


def test_back_off_doubles_up_to_half_a_minute() -> None:
    assert [restart_delay_s(n) for n in (1, 2, 3, 4, 5, 6, 60)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_part_that_ends_is_started_again_after_its_delay(child) -> None:  # type: ignore[no-untyped-def]
    clock, reported, launched = ManualClock(), [], []

    def launch() -> ChildProcess:
        launched.append(child("sh", "-c", "exit 3") if not launched else child(*FOREVER))
        return launched[-1]

    supervisor = Supervisor(reported.append, clock)
    supervisor.start(Part("candles", launch))
    wait_end(launched[0])
    supervisor.check()
    assert "candles ended with exit code 3; restarting it in 1 s" in reported[0]
    supervisor.check()
    assert len(launched) == 1
    clock.now += 1
    supervisor.check()
    assert len(launched) == 2
    assert launched[1].exit_code() is None
    supervisor.stop()
    assert launched[1].exit_code() is not None


def test_parts_stop_in_order_and_are_killed_when_they_do_not(child) -> None:  # type: ignore[no-untyped-def]
    reported: list[str] = []
    source = child(*FOREVER)
    broker = child("sh", "-c", "trap '' TERM; echo deaf; sleep 600 & wait; wait")
    supervisor = Supervisor(reported.append)
    supervisor.start(
        Part("broker", lambda: broker, stop_order=2, grace_s=0.2),
        Part("source", lambda: source, stop_order=0),
    )
    broker.wait_for(lambda: "deaf" in broker.tail(), "broker", 10)
    supervisor.stop()
    assert source.exit_code() == -15
    assert broker.exit_code() == -9
    assert reported == ["broker did not stop in time and was killed"]


def test_a_part_that_ends_before_it_is_ready_is_an_error_with_its_log(child) -> None:  # type: ignore[no-untyped-def]
    supervisor = Supervisor(lambda _sentence: None)
    supervisor.start(
        Part("page", lambda: child("sh", "-c", "echo no such port; exit 1"), is_ready=lambda: False)
    )
    with pytest.raises(EmbeddedError, match=r"(?s)page ended at once.*no such port"):
        supervisor.wait_ready(["page"], 10)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = (
        "from pathlib import Path; from app.embedded.process import ChildProcess; import time;"
        f"print(ChildProcess(['sleep', '600'], log=Path({str(log)!r})).pid, flush=True);"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    psutil.wait_procs([orphan], timeout=10)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_second_run_in_the_same_folder_is_a_sentence(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from app.embedded.orphans import single_run\n"
        f"with single_run(Path({str(tmp_path)!r})): print('held', flush=True); input()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    with pytest.raises(EmbeddedError, match="running already"), single_run(tmp_path):
        pass
    first.communicate("\n")
    with single_run(tmp_path):
        pass


def test_what_a_killed_run_left_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, another = uuid.uuid4().hex, uuid.uuid4().hex
    monkeypatch.setenv("_TICKHOUSE_RUN", lost)
    left = subprocess.Popen(FOREVER, start_new_session=True)
    monkeypatch.setenv("_TICKHOUSE_RUN", another)
    other = subprocess.Popen(FOREVER, start_new_session=True)
    (tmp_path / "demo.lock").write_text(lost)
    with single_run(tmp_path) as run_id:
        assert left.wait(10) is not None
        assert other.poll() is None
        assert os.environ["_TICKHOUSE_RUN"] == run_id
        assert processes_of_run(lost) == []
    assert end_run(another) == 1
    other.wait(10)
