"""`tickhouse demo`: the whole pipeline on this machine, reachable from this machine only.

Simulated without FINNHUB_API_KEY, live with it; a namespace and a data folder for each. Ctrl-C or
SIGTERM ends it; what it has stored is there at the next start.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from app.embedded.airflow import USER, Airflow
from app.embedded.environment import child_environment
from app.embedded.jars import KAFKA_VERSION
from app.embedded.kafka import KafkaServer
from app.embedded.leftovers import only_run
from app.embedded.plan import PORTS, USUAL_PORTS, Tickhouse, demo_settings, is_live, on_servers
from app.embedded.ports import remembered_ports
from app.embedded.s3 import S3Server
from app.embedded.server import EmbeddedServer
from app.embedded.supervisor import Part, Supervisor
from app.settings import Settings, load_settings
from app.topics import ensure_topics

_SERVERS_S = 120
_PARTS_S = 60
_FIRST_CANDLE_S = 45
"""How long Airflow, the heavy part, waits for candles to move before it starts."""
_AIRFLOW_S = 180
_WATCH_S = 0.5


def run() -> None:
    """Start everything, say where to look, and keep it running until told to end.

    :raises TickhouseError: a part cannot be started; everything is ended again.
    """
    given = load_settings()
    with only_run(given.tickhouse_data_dir):
        demo = Demo(demo_settings(given), simulated=not is_live(given), console=Console())
        with _ended_by_signals(demo):
            try:
                demo.start()
                demo.watch()
            except KeyboardInterrupt:
                demo.say("Ending…")
            finally:
                demo.stop()


class Demo:
    """The parts, in the order in which they come up."""

    def __init__(self, settings: Settings, *, simulated: bool, console: Console) -> None:
        self._settings = settings
        self._simulated = simulated
        self._console = console
        self._home = settings.home
        self._logs = self._home / "logs"
        self._began = time.monotonic()
        self.supervisor = Supervisor(self.say)
        self._ports = remembered_ports(self._home / "ports.json", PORTS, USUAL_PORTS)
        self._s3: S3Server | None = None
        self.told_to_end = threading.Event()

    def say(self, sentence: str) -> None:
        """One line with the seconds since the start."""
        elapsed = f"{time.monotonic() - self._began:5.0f} s"
        self._console.print(f"[dim]{elapsed}[/dim]  {sentence}", highlight=False, soft_wrap=True)

    def start(self) -> None:
        """Bring everything up; candles first, Airflow last."""
        what = "SIMULATED market" if self._simulated else "live feed of Finnhub"
        self.say(f"Tickhouse demo: {what}, data in {self._home}")
        self._settings = self._start_servers()
        ensure_topics(self._settings)
        tickhouse = Tickhouse(self._settings, self._logs, self._ports)
        self._start_pipeline(tickhouse)
        self._await_candles(tickhouse)
        airflow = self._start_airflow()
        self._console.print(
            f"\n  The page   {tickhouse.dashboard_url}\n"
            f"  Airflow    {airflow.url}   user {USER}, password {airflow.password}\n"
            f"  Logs       {self._logs}\n"
            "  Ctrl-C ends everything.\n",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        self._await_gold(tickhouse)

    def watch(self) -> None:
        """Restart what ends, until told to end."""
        while not self.told_to_end.wait(_WATCH_S):
            self.supervisor.check()

    def stop(self) -> None:
        """End every part: sources, then topologies and pages, then servers."""
        self.supervisor.stop()
        if self._s3:
            self._s3.stop()
        self.say("Everything has ended.")

    def _start_servers(self) -> Settings:
        """The settings, with Kafka and S3 running that the user did not name."""
        own_kafka = "kafka_brokers" not in self._settings.model_fields_set
        own_s3 = self._settings.lake_endpoint_url is None
        names, kafka = [], None
        if own_s3:
            self._s3 = S3Server(
                self._home / "s3", bucket=self._settings.lake_bucket, log=self._logs / "s3.log"
            )
            self.supervisor.start(_server("s3", self._s3, stubborn=True))
            names.append("s3")
        if own_kafka:
            kafka = self._kafka()
            with self._waiting(f"Starting Apache Kafka {KAFKA_VERSION}"):
                self.supervisor.start(_server("kafka", kafka))
            names.append("kafka")
        with self._waiting("Waiting for Kafka and S3"):
            self.supervisor.wait_ready(names, _SERVERS_S)
        settings = on_servers(
            self._settings,
            brokers=kafka.brokers if kafka else None,
            s3=self._s3.as_settings() if self._s3 else None,
            simulator_port=self._ports["simulator"] if self._simulated else None,
        )
        self.say(f"Kafka at {settings.kafka_brokers}, S3 at {settings.lake_endpoint_url}")
        return settings

    def _kafka(self) -> KafkaServer:
        def progress(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                self.say(f"Apache Kafka {KAFKA_VERSION}: {done} of {total} jars")

        return KafkaServer(self._home / "kafka", log=self._logs / "kafka.log", progress=progress)

    def _start_pipeline(self, tickhouse: Tickhouse) -> None:
        if self._simulated:
            self.supervisor.start(tickhouse.simulator())
        self.supervisor.start(tickhouse.candles(), tickhouse.dashboard())
        if self._simulated:
            with self._waiting("Waiting for the simulator"):
                self.supervisor.wait_ready(["simulate"], _PARTS_S)
        self.supervisor.start(tickhouse.producer(), tickhouse.archive())
        with self._waiting("Waiting for the page"):
            self.supervisor.wait_ready(["dashboard"], _PARTS_S)
        self.say(f"The page: {tickhouse.dashboard_url}")

    def _await_candles(self, tickhouse: Tickhouse) -> None:
        with self._waiting("Waiting for the first candle"):
            deadline = time.monotonic() + _FIRST_CANDLE_S
            while time.monotonic() < deadline:
                if symbols := tickhouse.moving_symbols():
                    self.say(f"Candles move on the page; symbols so far: {symbols}")
                    return
                self._check()
        self.say("No candle yet; the page shows them as soon as trades arrive.")

    def _start_airflow(self) -> Airflow:
        variables = child_environment(self._settings)
        airflow = Airflow(self._home / "airflow", self._ports["airflow"], variables, self._logs)
        with self._waiting("Preparing Airflow's database"):
            airflow.wait_migrated(airflow.migrate(), self.supervisor.check)
        for parts in (airflow.first_parts(), airflow.last_parts()):
            self.supervisor.start(*parts)
            with self._waiting("Waiting for Airflow"):
                self.supervisor.wait_ready([part.name for part in parts], _AIRFLOW_S)
        self.say(f"Airflow: {airflow.url}")
        return airflow

    def _await_gold(self, tickhouse: Tickhouse) -> None:
        """Say when the warehouse half has come round for the first time."""
        built_before = _built_at(tickhouse)
        while not self.told_to_end.is_set():
            if _built_at(tickhouse) != built_before:
                self.say("Gold is built; from now on each minute")
                return
            self._check()

    def _check(self) -> None:
        self.supervisor.check()
        time.sleep(_WATCH_S)

    @contextlib.contextmanager
    def _waiting(self, what: str) -> Iterator[None]:
        with self._console.status(f"{what}…"):
            yield


def _server(name: str, server: EmbeddedServer, *, stubborn: bool = False) -> Part:
    return Part(
        name,
        server.launch,
        is_ready=server.answers,
        ends=2,
        grace_s=server.grace_s,
        stubborn=stubborn,
    )


def _built_at(tickhouse: Tickhouse) -> int | None:
    status = tickhouse.status()
    return status["gold"]["built_at"] if status else None


@contextlib.contextmanager
def _ended_by_signals(demo: Demo) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the demo in order, the second at once."""

    def note(_number: int, _frame: FrameType | None) -> None:
        if demo.told_to_end.is_set():
            demo.supervisor.hurry = True
            return
        demo.told_to_end.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
