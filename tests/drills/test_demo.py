"""`make demo` until gold is built: in a fresh clone, and with the stand-in for Snowflake."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from app.embedded.orphans import RUN_ID_VARIABLE
from app.folders import cache_folder
from tests.support import listening

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 5_000_000_000
GOLD_S = 150
SLEEP_S = 95
"""Longer than the sessions of consumers, whose partitions are then taken from them."""
PROGRAMS = ("bash", "dirname", "env", "expand", "git", "grep", "make", "rm", "sed", "touch")

PATIENCE = 4
pytestmark = pytest.mark.drill


def bare_environment(home: Path) -> dict[str, str]:
    """A fresh machine: an empty home, and neither java nor mvn, node, docker or uv on the PATH.

    What was downloaded before is shared, and certificates of the machine's own stay known.
    """
    programs = home / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    (programs / "python3").symlink_to(Path(os.path.realpath(ROOT / ".venv/bin/python")))
    kept = ("LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "TMPDIR")
    shared = {
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        "XDG_CACHE_HOME": str(cache_folder().parent),
    }
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | shared | {"HOME": str(home), "PATH": str(programs), "TERM": "dumb"}


def wait_until(what: str, seconds: float, ready: Callable[[], Any]) -> Any:
    """Poll `ready` until it returns a true value; return that.

    :param seconds: what it takes on a quiet machine at most; a busy one has `PATIENCE` times that.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what} took longer than {PATIENCE * seconds:.0f} s"
        time.sleep(0.25)
    return value


class RunningDemo:
    """`make demo` in a clone, observed through its output, page and processes.

    :param options: of make.
    """

    def __init__(self, clone: Path, environment: dict[str, str], *options: str) -> None:
        self.clone = clone
        self.log = clone.parent / "demo.out"
        self.began = time.monotonic()
        self.began_ms = time.time() * 1000
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "demo", *options],
                cwd=clone,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text()

    def printed(self, text: str) -> bool:
        assert self.process.poll() is None, f"the demo ended:\n{self.output()}"
        return text in self.output()

    @property
    def page(self) -> str:
        lines = [line for line in self.output().splitlines() if "The page" in line]
        return lines[-1].split()[-1]

    def get(self, path: str) -> Any:
        try:
            response = httpx2.get(self.page + path, timeout=5, trust_env=False)
            return response.raise_for_status().json()
        except (httpx2.HTTPError, IndexError):
            return None

    def tree(self) -> list[psutil.Process]:
        """Every process of the demo: this one's descendants and those with the run's id."""
        run_id = (self.clone / ".tickhouse" / "demo.lock").read_text()
        root = psutil.Process(self.process.pid)
        found = {p.pid: p for p in [root, *root.children(recursive=True)]}
        return [*found.values(), *(p for p in marked_with(run_id) if p.pid not in found)]

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to make and what it runs."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(45)


def marked_with(run_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_ID_VARIABLE) == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def running_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()) == folder:
                found.append(process)
    return found


def memory(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        total += getattr(full, "pss", full.uss)
    return total


def newest_candle(demo: RunningDemo, symbol: str) -> Any:
    """The newest candle of `symbol` that the page shows."""
    answer = demo.get(f"api/candles?symbol={symbol}&limit=1")
    return answer["candles"][-1] if answer and answer["candles"] else None


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    yield target
    lock = target / ".tickhouse" / "demo.lock"
    for process in marked_with(lock.read_text()) if lock.exists() else []:
        process.kill()
    shutil.rmtree(target / ".venv", ignore_errors=True)


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """The working copy of these tests under another path, with data of its own and no `.env`."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", ".venv", "tests"):
        (folder / name).symlink_to(ROOT / name)
    yield folder
    lock = folder / ".tickhouse" / "demo.lock"
    marked = marked_with(lock.read_text()) if lock.exists() else []
    for process in (*marked, *running_in(folder)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_fresh_clone_comes_to_moving_candles_and_gold_and_ends_cleanly(
    clone: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = bare_environment(tmp_path / "home")
    for absent in ("java", "mvn", "node", "docker", "uv"):
        assert shutil.which(absent, path=environment["PATH"]) is None
    began = time.monotonic()
    subprocess.run(["make", "install"], cwd=clone, env=environment, check=True)
    record_property("install_s", round(time.monotonic() - began))

    demo = RunningDemo(clone, environment)
    wait_until("moving candles", 90, lambda: demo.printed("Candles move"))
    record_property("candles_s", round(time.monotonic() - demo.began))
    symbol = demo.get("api/symbols")["symbols"][0]
    first = wait_until("a candle", 30, lambda: newest_candle(demo, symbol))
    wait_until("a change of the candle", 30, lambda: newest_candle(demo, symbol) != first)
    wait_until("Airflow", 180, lambda: demo.printed("Airflow  "))

    status = wait_until("a closed minute", 90, lambda: closed_minute(demo))
    closed_ms = status["last_final_end"]
    patience_s = GOLD_S - (status["now"] - closed_ms) / 1000
    wait_until("the minute in gold", patience_s, lambda: in_gold(demo, symbol, closed_ms))
    record_property("gold_after_s", round(time.time() - closed_ms / 1000))

    health = wait_until("a healthy pipeline", 60, lambda: healthy(clone, environment))
    assert health["namespace"] == "demo-simulated"
    states = {stage["name"]: stage["state"] for stage in health["stages"]}
    assert states.pop("audit") in ("ok", "waiting")  # it runs each hour
    assert set(states.values()) == {"ok"}

    processes = demo.tree()
    assert len(processes) > 12
    assert listening(processes) <= {"127.0.0.1", "::1"}
    used = memory(processes)
    record_property("memory_mb", used // 1_000_000)
    assert used < MEMORY

    second = subprocess.run(
        ["make", "demo"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert second.returncode
    assert "A demo is running already" in second.stderr

    wakes_from_sleep(demo)
    ends_with_nothing_left(demo)
    killed = comes_up_again_from_its_data(clone, environment, symbol, closed_ms)
    leaves_nothing_to_the_next_when_killed(killed, clone, environment)


@pytest.mark.soak
def test_the_demo_on_the_stand_in_for_snowflake_shows_gold_and_ends_cleanly(
    installed: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = bare_environment(tmp_path / "home")
    demo = RunningDemo(installed, environment, "WAREHOUSE=snowflake-local")
    wait_until("Airflow", 270, lambda: demo.printed("Airflow  "))
    symbol = demo.get("api/symbols")["symbols"][0]
    closed_ms = wait_until("a closed minute", 90, lambda: closed_minute(demo))["last_final_end"]
    wait_until("the minute in gold", GOLD_S, lambda: in_gold(demo, symbol, closed_ms))
    record_property("gold_after_s", round(time.time() - closed_ms / 1000))

    data = installed / ".tickhouse"
    assert list(data.glob("*/snowflake-local/data/*"))
    assert not list(data.rglob("STOCKS.duckdb"))
    ends_with_nothing_left(demo)


def closed_minute(demo: RunningDemo) -> Any:
    """The page's status once a minute of this run has closed.

    A quote dated yesterday makes a final candle of yesterday, which does not belong to this run.
    """
    status = demo.get("api/status")
    closed = status and status["last_final_end"] and status["last_final_end"] > demo.began_ms
    return status if closed else None


def in_gold(demo: RunningDemo, symbol: str, end_ms: int) -> bool:
    answer = demo.get(f"api/gold/candlestick?symbol={symbol}")
    return bool(answer) and any(row["candle_end"] == end_ms for row in answer["rows"])


def healthy(clone: Path, environment: dict[str, str]) -> Any:
    """What `tickhouse status --json` prints beside the demo, once it exits with 0."""
    program = clone / ".venv" / "bin" / "tickhouse"
    command = [str(program), "status", "--json"]
    done = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def wakes_from_sleep(demo: RunningDemo) -> None:
    """All processes are stopped for `SLEEP_S`, as a laptop's are; then minutes close again."""
    processes = demo.tree()
    for process in processes:
        process.suspend()
    time.sleep(SLEEP_S)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    awake_ms = time.time() * 1000

    def closed_since() -> bool:
        status = demo.get("api/status")
        return bool(status) and (status["last_final_end"] or 0) > awake_ms

    wait_until("a closed minute after the sleep", 150, closed_since)


def ends_with_nothing_left(demo: RunningDemo) -> None:
    processes = demo.tree()
    demo.interrupt()
    assert "All parts have stopped." in demo.output()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def comes_up_again_from_its_data(
    clone: Path, environment: dict[str, str], symbol: str, closed_ms: int
) -> RunningDemo:
    demo = RunningDemo(clone, environment)
    wait_until("moving candles", 60, lambda: demo.printed("Candles move"))

    def shown() -> bool:
        answer = demo.get(f"api/candles?symbol={symbol}")
        return bool(answer) and closed_ms - 60_000 in [c["start"] for c in answer["candles"]]

    # Partial candles move before the page has read all final ones.
    wait_until("the earlier run's candle", 30, shown)
    return demo


def leaves_nothing_to_the_next_when_killed(
    demo: RunningDemo, clone: Path, environment: dict[str, str]
) -> None:
    run_id = (clone / ".tickhouse" / "demo.lock").read_text()
    os.killpg(demo.process.pid, signal.SIGKILL)
    demo.process.wait()
    after = RunningDemo(clone, environment)
    wait_until("moving candles", 60, lambda: after.printed("Candles move"))
    assert [p for p in marked_with(run_id) if p.status() != psutil.STATUS_ZOMBIE] == []
    ends_with_nothing_left(after)
