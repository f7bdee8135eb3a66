"""The processes that the demo runs, and their settings."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.contracts import LIVE_TOPIC
from app.embedded.environment import child_environment
from app.embedded.ports import LOOPBACK, get_json, listens
from app.embedded.process import ChildProcess
from app.embedded.supervisor import Part
from app.settings import Settings

SIMULATOR_KEY = "key-of-the-simulator"
PORTS = ("dashboard", "airflow", "simulator")
MAX_CANDLE_AGE_MS = 5_000
DEFAULT_PORTS = {"dashboard": 8050, "airflow": 8080, "simulator": 8060}


def is_live(settings: Settings) -> bool:
    """Return whether the demo uses Finnhub's live feed, which needs an API key."""
    return settings.finnhub_api_key is not None


def demo_settings(settings: Settings) -> Settings:
    """Return the user's settings, with a namespace for the demo's feed."""
    feed = "live" if is_live(settings) else "simulated"
    namespace = settings.tickhouse_namespace or f"demo-{feed}"
    return settings.model_copy(
        update={"tickhouse_namespace": namespace, "tickhouse_feed": feed}
        | ({} if feed == "live" else {"finnhub_api_key": SecretStr(SIMULATOR_KEY)})
    )


def warehouse_sentence(settings: Settings) -> str | None:
    """Return a sentence that names the demo's Snowflake database; None with DuckDB."""
    if settings.warehouse != "snowflake":
        return None
    data = "Simulated" if settings.tickhouse_feed == "simulated" else "Live"
    goes = f"{data} data goes to the database {settings.warehouse_database} of Snowflake"
    if settings.snowflake_database is not None:
        return f"{goes}, which SNOWFLAKE_DATABASE names"
    return (
        f"{goes}, which `TICKHOUSE_NAMESPACE={settings.tickhouse_namespace} tickhouse warehouse "
        "init` creates"
    )


def with_servers(
    settings: Settings,
    *,
    brokers: str | None = None,
    s3: Mapping[str, str] | None = None,
    simulator_port: int | None = None,
) -> Settings:
    """Return `settings` with the addresses of those embedded servers that are given.

    :param s3: `endpoint_url`, `access_key` and `secret_key`.
    """
    update: dict[str, Any] = {}
    if brokers:
        update["kafka_brokers"] = brokers
    if s3:
        update["lake_endpoint_url"] = s3["endpoint_url"]
        update["aws_access_key_id"] = s3["access_key"]
        update["aws_secret_access_key"] = SecretStr(s3["secret_key"])
    if simulator_port:
        update["finnhub_websocket_url"] = f"ws://{LOOPBACK}:{simulator_port}"
        update["finnhub_rest_url"] = f"http://{LOOPBACK}:{simulator_port}/api/v1"
    return settings.model_copy(update=update)


class PipelineParts:
    """Tickhouse's own processes as parts of the demo, with their output in `logs`."""

    def __init__(self, settings: Settings, logs: Path, ports: Mapping[str, int]) -> None:
        self._environment = child_environment(settings)
        self._logs = logs
        self._ports = ports

    @property
    def dashboard_url(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['dashboard']}/"

    def simulator(self) -> Part:
        port = self._ports["simulator"]
        arguments = ("simulate", "--port", str(port), "--token", SIMULATOR_KEY)
        return self._part(*arguments, is_ready=lambda: listens(port))

    def history(self) -> ChildProcess:
        """Start to publish earlier simulated days; the process ends at once if there are any."""
        return self._launch("simulate-history")

    def producer(self) -> Part:
        return self._part("produce", stop_order=0)

    def candles(self) -> Part:
        return self._part("candles")

    def archive(self) -> Part:
        return self._part("archive")

    def dashboard(self) -> Part:
        port = str(self._ports["dashboard"])
        return self._part("dashboard", "--port", port, is_ready=lambda: self.status() is not None)

    def status(self) -> dict[str, Any] | None:
        """Return the status that the page reports; None while it does not answer."""
        return get_json(f"{self.dashboard_url}api/status")

    def live_symbol_count(self) -> int:
        """Return the number of symbols on the page.

        It is 0 while the page does not answer, or the newest live candle is older than
        `MAX_CANDLE_AGE_MS`.
        """
        status = self.status()
        if status is None:
            return 0
        newest = status["topics"][LIVE_TOPIC]["newest_ms"]
        fresh = newest is not None and status["now"] - newest < MAX_CANDLE_AGE_MS
        return int(status["symbols"]) if fresh else 0

    def _part(
        self, *arguments: str, is_ready: Callable[[], bool] = lambda: True, stop_order: int = 1
    ) -> Part:
        return Part(
            arguments[0],
            lambda: self._launch(*arguments),
            is_ready=is_ready,
            stop_order=stop_order,
        )

    def _launch(self, *arguments: str) -> ChildProcess:
        program: list[str | Path] = [Path(sysconfig.get_path("scripts")) / "tickhouse", *arguments]
        log = self._logs / f"{arguments[0]}.log"
        return ChildProcess(program, log=log, env=self._environment)
