"""Run Airflow on one machine: SQLite, few processes, loopback only.

`airflow standalone` and the scheduler's log server listen on every interface. Therefore the three
components are started separately, without that server. There is no triggerer, because no task
defers.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.embedded.ports import LOOPBACK, get_json
from app.embedded.process import ChildProcess
from app.embedded.supervisor import Part
from app.hosts import keep_loopback_direct
from app.outputs import write_atomically

USER = "admin"
REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "airflow" / "dags"
POOL = "warehouse 1 'Tasks that write the warehouse, one at a time'"
"""Arguments of `airflow pools set`."""
_SETUP_S = 180
_SECRETS = ("fernet_key", "jwt_secret", "secret_key")


class Airflow:
    """The components of an Airflow whose database, logs and password are in `folder`.

    :param variables: the environment of every component and task, including Tickhouse's settings.
    :param logs: the folder for the components' output.
    """

    def __init__(self, folder: Path, port: int, variables: Mapping[str, str], logs: Path) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.logs = logs
        self.folder.mkdir(parents=True, exist_ok=True)
        self.password = _password(self.folder / "passwords.json")
        keys = _keys(self.folder / "secrets.json")
        self._environment = dict(variables) | airflow_variables(self.folder, port, keys)
        keep_loopback_direct(self._environment)  # its components talk to each other on loopback

    @property
    def url(self) -> str:
        """The URL of Airflow's web interface."""
        return f"http://{LOOPBACK}:{self.port}/"

    def migrate(self) -> ChildProcess:
        """Start to create or upgrade the metadata database, and to create the DAGs' pool."""
        airflow = f"{shlex.quote(sys.executable)} -m airflow"
        return ChildProcess(
            ["/bin/sh", "-c", f"{airflow} db migrate && {airflow} pools set {POOL}"],
            log=self.logs / "airflow-setup.log",
            env=self._environment,
            cwd=self.folder,
        )

    def wait_migrated(self, setup: ChildProcess, watch: Callable[[], None]) -> None:
        """Wait until the database is ready.

        :param watch: called repeatedly while waiting.
        :raises EmbeddedError: the migration failed, or took too long.
        """

        def ended() -> bool:
            watch()
            return setup.exit_code() == 0

        setup.wait_for(ended, "Airflow's database", _SETUP_S)

    def first_parts(self) -> list[Part]:
        """Return the components to start before the scheduler; the database must be ready."""
        return [
            self._part("airflow-dag-processor", "dag-processor"),
            self._part("airflow-api-server", "api-server", is_ready=lambda: bool(self._health())),
        ]

    def last_parts(self) -> list[Part]:
        """Return the components to start once the first ones are ready."""
        return [
            self._part(
                "airflow-scheduler",
                *("scheduler", "--skip-serve-logs"),
                is_ready=self._is_scheduling,
            )
        ]

    def _health(self) -> dict[str, Any] | None:
        return get_json(f"{self.url}api/v2/monitor/health")

    def _is_scheduling(self) -> bool:
        health = self._health() or {}
        parts = [health.get(name, {}) for name in ("scheduler", "dag_processor")]
        return all(part.get("status") == "healthy" for part in parts)

    def _part(self, name: str, *command: str, is_ready: Callable[[], bool] = lambda: True) -> Part:
        """Return a component. It may be killed: a task it waits for at shutdown is retried."""
        return Part(
            name,
            lambda: self._airflow(name, command),
            is_ready=is_ready,
            stop_order=0,
            grace_s=8.0,
            expect_kill=True,
        )

    def _airflow(self, name: str, command: tuple[str, ...]) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", "airflow", *command],
            log=self.logs / f"{name}.log",
            env=self._environment,
            cwd=self.folder,
        )


def airflow_variables(folder: Path, port: int, keys: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow's settings: few processes, fast detection of changes, loopback only."""
    api = f"http://{LOOPBACK}:{port}"
    database = f"sqlite:///{quote(str(folder / 'airflow.db'))}"
    options = {
        "API__BASE_URL": api,
        "API__HOST": LOOPBACK,
        "API__PORT": port,
        "API__SECRET_KEY": keys["secret_key"],
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__DAGS_FOLDER": DAGS,
        "CORE__EXECUTION_API_SERVER_URL": f"{api}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": keys["fernet_key"],
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 2,
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": folder / "passwords.json",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 120,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "DAG_PROCESSOR__PRINT_STATS_INTERVAL": 0,
        "DAG_PROCESSOR__REFRESH_INTERVAL": 120,
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "LOGGING__BASE_LOG_FOLDER": folder / "logs",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 30,
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": 30,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 30,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 10,
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    return {
        "AIRFLOW_DATABASE_URL": database,  # for `airflow db clean`
        "AIRFLOW_HOME": str(folder),
    } | {f"AIRFLOW__{name}": str(value) for name, value in options.items()}


def _password(file: Path) -> str:
    """Return the password of `USER`, generated once and stored in `file` with mode 0600."""
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    if USER not in known:
        known = {USER: secrets.token_urlsafe(12)}
        _write_private(file, known)
    return known[USER]


def _keys(file: Path) -> dict[str, str]:
    """Return the keys that Airflow's components share, generated once."""
    if not file.exists():
        from cryptography.fernet import Fernet

        made = {name: secrets.token_urlsafe(48) for name in _SECRETS}
        _write_private(file, made | {"fernet_key": Fernet.generate_key().decode()})
    known: dict[str, str] = json.loads(file.read_text())
    return known


def _write_private(file: Path, values: Mapping[str, str]) -> None:
    write_atomically(file, json.dumps(values), mode=0o600)
