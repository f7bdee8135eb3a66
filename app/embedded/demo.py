"""Run the pipeline on one machine, reachable from that machine only: `tickhouse demo`.

The feed is simulated, or live if FINNHUB_API_KEY is set; each has its own namespace and data
folder. Ctrl-C or SIGTERM stops the demo; the next start continues from its stored data.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from app.embedded.airflow import USER, Airflow
from app.embedded.environment import child_environment
from app.embedded.jars import KAFKA_VERSION
from app.embedded.kafka import KafkaServer
from app.embedded.orphans import single_run
from app.embedded.plan import (
    DEFAULT_PORTS,
    PORTS,
    PipelineParts,
    demo_settings,
    is_live,
    warehouse_sentence,
    with_servers,
)
from app.embedded.ports import remembered_ports
from app.embedded.process import ChildProcess
from app.embedded.running_demo import announced
from app.embedded.s3 import S3Server
from app.embedded.server import EmbeddedServer
from app.embedded.supervisor import Part, Supervisor
from app.folders import check_data_folder
from app.settings import Settings, load_settings
from app.topics import ensure_topics

_SERVERS_S = 120
_PARTS_S = 60
_HISTORY_S = 300
"""It takes a few seconds on an idle machine. An incomplete history would leave a gap before now."""
_FIRST_CANDLE_S = 45
"""How long to wait for candles before starting Airflow, which takes the most resources."""
_AIRFLOW_S = 180
_WATCH_S = 0.5


def run() -> None:
    """Start all parts, print their addresses, and restart failed parts until the demo is stopped.

    :raises TickhouseError: a part cannot be started; the others are stopped.
    """
    given = load_settings()
    check_data_folder(given.tickhouse_data_dir)
    check_data_folder(demo_settings(given).home)
    with single_run(given.tickhouse_data_dir):
        demo = Demo(demo_settings(given), simulated=not is_live(given), console=Console())
        with _stopped_by_signals(demo):
            try:
                demo.start()
                demo.watch()
            except KeyboardInterrupt:
                demo.report("Stopping…")
            finally:
                demo.stop()


class Demo:
    """Starts the parts in order, watches them, and stops them."""

    def __init__(self, settings: Settings, *, simulated: bool, console: Console) -> None:
        self._settings = settings
        self._simulated = simulated
        self._console = console
        self._home = settings.home
        self._logs = self._home / "logs"
        self._began = time.monotonic()
        self.supervisor = Supervisor(self.report)
        self._announcement = contextlib.ExitStack()
        self._ports = remembered_ports(self._home / "ports.json", PORTS, DEFAULT_PORTS)
        self._s3: S3Server | None = None
        self._parts: PipelineParts | None = None
        self._candles_move = False
        self.stop_requested = threading.Event()

    def report(self, sentence: str) -> None:
        """Print a line with the seconds since the start."""
        elapsed = f"{time.monotonic() - self._began:5.0f} s"
        line = f"[dim]{elapsed}[/dim]  {escape(sentence)}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def start(self) -> None:
        """Start all parts, candles first and Airflow last."""
        what = "SIMULATED market" if self._simulated else "live feed of Finnhub"
        self.report(f"Tickhouse demo: {what}, data in {self._home}")
        if self._simulated:
            self.report(
                "It is simulated because FINNHUB_API_KEY is set neither in the environment nor in "
                f"{Path('.env').resolve()}"
            )
        if sentence := warehouse_sentence(self._settings):
            self.report(sentence)
        self._settings = self._start_servers()
        self._announcement.enter_context(announced(self._settings))
        ensure_topics(self._settings)
        parts = PipelineParts(self._settings, self._logs, self._ports)
        self._start_pipeline(parts)
        self._parts = parts
        self._await_candles()
        airflow = self._start_airflow()
        self._console.print(
            f"\n  The page   {parts.dashboard_url}\n"
            f"  Airflow    {airflow.url}   user {USER}, password {airflow.password}\n"
            f"  Logs       {self._logs}\n"
            "  Health     .venv/bin/tickhouse status\n"
            "  Ctrl-C stops all of it.\n",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        self._await_gold(parts)

    def watch(self) -> None:
        """Restart parts that end, until the demo is stopped."""
        while not self.stop_requested.wait(_WATCH_S):
            self._watch_once()

    def stop(self) -> None:
        """Stop every part: producer and Airflow, then the rest of the pipeline, then servers."""
        self._announcement.close()
        self.supervisor.stop()
        if self._s3:
            self._s3.stop()
        self.report("All parts have stopped.")

    def _start_servers(self) -> Settings:
        """Start Kafka and S3 unless the user named servers; return settings that point to them."""
        own_kafka = "kafka_brokers" not in self._settings.model_fields_set
        own_s3 = self._settings.lake_endpoint_url is None
        names, kafka = [], None
        if own_s3:
            self._s3 = S3Server(
                self._home / "s3", bucket=self._settings.lake_bucket, log=self._logs / "s3.log"
            )
            self.supervisor.start(_server("s3", self._s3, expect_kill=True))
            names.append("s3")
        if own_kafka:
            kafka = self._kafka()
            with self._waiting(f"Starting Apache Kafka {KAFKA_VERSION}"):
                self.supervisor.start(_server("kafka", kafka))
            names.append("kafka")
        with self._waiting("Waiting for Kafka and S3"):
            self.supervisor.wait_ready(names, _SERVERS_S)
        settings = with_servers(
            self._settings,
            brokers=kafka.brokers if kafka else None,
            s3=self._s3.as_settings() if self._s3 else None,
            simulator_port=self._ports["simulator"] if self._simulated else None,
        )
        self.report(f"Kafka at {settings.kafka_brokers}, S3 at {settings.lake_endpoint_url}")
        return settings

    def _kafka(self) -> KafkaServer:
        def progress(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                self.report(f"Apache Kafka {KAFKA_VERSION}: {done} of {total} jars")

        return KafkaServer(self._home / "kafka", log=self._logs / "kafka.log", progress=progress)

    def _start_pipeline(self, parts: PipelineParts) -> None:
        history = parts.history() if self._simulated else None
        self.supervisor.start(parts.candles(), parts.dashboard())
        if history:
            self.supervisor.start(parts.simulator())
            with self._waiting("Waiting for the simulator"):
                self.supervisor.wait_ready(["simulate"], _PARTS_S)
            with self._waiting("Publishing earlier simulated days"):
                self._wait_for_history(history)
        self.supervisor.start(parts.producer(), parts.archive())
        with self._waiting("Waiting for the page"):
            self.supervisor.wait_ready(["dashboard"], _PARTS_S)
        self.report(f"The page: {parts.dashboard_url}")

    def _wait_for_history(self, history: ChildProcess) -> None:
        """Wait for the simulated history, whose trades must precede current ones in the topic.

        The demo also works without it, so a failure is only reported.
        """
        deadline = time.monotonic() + _HISTORY_S
        try:
            while (code := history.exit_code()) is None and time.monotonic() < deadline:
                self._check()
        finally:
            history.kill()
        if code != 0:
            self.report(f"The simulated history is incomplete; see {history.log}")

    def _await_candles(self) -> None:
        with self._waiting("Waiting for the first candle"):
            deadline = time.monotonic() + _FIRST_CANDLE_S
            while not self._candles_move and time.monotonic() < deadline:
                self._check()
        if not self._candles_move:
            self.report("No candle yet; the page shows them as soon as trades arrive.")

    def _report_first_candle(self) -> None:
        """Report once that the page shows live candles, however late."""
        if self._parts is None or self._candles_move:
            return
        if symbols := self._parts.live_symbol_count():
            self._candles_move = True
            self.report(f"Candles move on the page; symbols so far: {symbols}")

    def _start_airflow(self) -> Airflow:
        variables = child_environment(self._settings)
        airflow = Airflow(self._home / "airflow", self._ports["airflow"], variables, self._logs)
        with self._waiting("Preparing Airflow's database"):
            airflow.wait_migrated(airflow.migrate(), self._watch_once)
        for parts in (airflow.first_parts(), airflow.last_parts()):
            self.supervisor.start(*parts)
            with self._waiting("Waiting for Airflow"):
                self.supervisor.wait_ready([part.name for part in parts], _AIRFLOW_S)
        self.report(f"Airflow: {airflow.url}")
        return airflow

    def _await_gold(self, parts: PipelineParts) -> None:
        """Wait for the first build of gold in this run, and report it."""
        built_before = _built_at(parts)
        while not self.stop_requested.is_set():
            if _built_at(parts) != built_before:
                self.report("Gold is built, and will be each minute")
                return
            self._check()

    def _watch_once(self) -> None:
        self.supervisor.check()
        self._report_first_candle()

    def _check(self) -> None:
        self._watch_once()
        time.sleep(_WATCH_S)

    @contextlib.contextmanager
    def _waiting(self, what: str) -> Iterator[None]:
        with self._console.status(f"{what}…"):
            yield


def _server(name: str, server: EmbeddedServer, *, expect_kill: bool = False) -> Part:
    return Part(
        name,
        server.launch,
        is_ready=server.answers,
        stop_order=2,
        grace_s=server.grace_s,
        expect_kill=expect_kill,
    )


def _built_at(parts: PipelineParts) -> int | None:
    status = parts.status()
    return status["gold"]["built_at"] if status else None


@contextlib.contextmanager
def _stopped_by_signals(demo: Demo) -> Iterator[None]:
    """Stop the demo in order on the first Ctrl-C or SIGTERM; kill its parts on the second."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if demo.stop_requested.is_set():
            demo.supervisor.force_stop = True
            return
        demo.stop_requested.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
