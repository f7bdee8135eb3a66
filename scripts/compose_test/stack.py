"""The stack of compose.yaml in a test: Compose's commands, containers, the page and Airflow."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values

from app.embedded.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "tickhouse-test"
COMMAND_S = 900.0
PASSWORD_WORD = "pa55word"
"""Occurs in no other text, so that a part of the password is found, too."""
DIFFICULT_PASSWORD = "@".join([PASSWORD_WORD] * 2) + "/:#%20+" + PASSWORD_WORD
KILL_PROCESS = """
import os, pathlib, signal
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    if "\\nPPid:\\t1\\n" in status.read_text():
        os.kill(int(status.parent.name), signal.SIGKILL)
        break
"""
"""A program that kills its container's process: the child of init."""


class AirflowRun(NamedTuple):
    """A run of a DAG, from `start` to `end` in UNIX seconds."""

    dag: str
    state: str
    start: float
    end: float

    def overlaps(self, span: tuple[float, float]) -> bool:
        """Return whether it ran during `span` (start and end in UNIX seconds)."""
        return self.start < span[1] and self.end > span[0]


class Failed(Exception):
    """A step of the test failed; the message is the reason."""


class Stack:
    """The stack, as project `PROJECT` of Compose.

    :param env_file: settings and secrets.
    :param overrides: more Compose files, such as stand-ins for images.
    """

    def __init__(self, env_file: Path, values: Mapping[str, str], overrides: list[Path]) -> None:
        self.values = values
        files = [ROOT / "compose.yaml", *overrides]
        self._compose = [
            *("docker", "compose", "--project-name", PROJECT, "--project-directory", str(ROOT)),
            *("--env-file", str(env_file)),
            *(word for file in files for word in ("--file", str(file))),
        ]

    def compose(self, *arguments: str) -> str:
        """Run a command of Compose; return its output."""
        return run([*self._compose, *arguments])

    def containers(self) -> list[dict[str, Any]]:
        """Return `docker inspect` of each container, stopped ones included."""
        label = f"label=com.docker.compose.project={PROJECT}"
        ids = run(["docker", "ps", "--all", "--quiet", "--filter", label]).split()
        return list(json.loads(run(["docker", "inspect", *ids]))) if ids else []

    def of_service(self, name: str) -> list[dict[str, Any]]:
        """Return `docker inspect` of each container of a service."""
        return [found for found in self.containers() if service_of(found) == name]

    def left_over(self) -> str:
        """Return the containers, volumes and networks of the project that exist."""
        label = ["--filter", f"label=com.docker.compose.project={PROJECT}", "--quiet"]
        return " ".join(
            run(["docker", kind, "ls", *(["--all"] if kind == "container" else []), *label])
            for kind in ("container", "volume", "network")
        ).strip()

    def page_status(self) -> dict[str, Any]:
        """Return the page's `/api/status`."""
        port, token = self.values["PAGE_PORT"], self.values["DASHBOARD_TOKEN"]
        status: dict[str, Any] = get_json(f"http://127.0.0.1:{port}/api/status", token)
        return status

    def airflow_runs(self) -> list[AirflowRun]:
        """Return the runs of the pipeline's DAGs."""
        api = self.of_service("airflow-api")[0]["Id"]
        file = "/var/lib/airflow/simple_auth_manager_passwords.json.generated"
        password = json.loads(run(["docker", "exec", api, "cat", file]))["admin"]
        url = f"http://127.0.0.1:{self.values['AIRFLOW_PORT']}"
        body = {"username": "admin", "password": password}
        token = get_json(f"{url}/auth/token", data=body)["access_token"]
        return [
            AirflowRun(dag, item["state"], _moment(item["start_date"]), _moment(item["end_date"]))
            for dag in ("stock_pipeline", "stock_transform")
            for item in get_json(f"{url}/api/v2/dags/{dag}/dagRuns?limit=100", token)["dag_runs"]
        ]


def _moment(text: str | None) -> float:
    """Return UNIX seconds of a time that Airflow reports; the current time if it reports none."""
    return datetime.fromisoformat(text).timestamp() if text else time.time()


def service_of(container: Mapping[str, Any]) -> str:
    """Return the name of a container's service."""
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def run(command: list[str], *, stdin: str | None = None, timeout_s: float = COMMAND_S) -> str:
    """Run a command and return its output.

    :raises Failed: its exit code is not 0.
    """
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-2000:]
        raise Failed(f"{' '.join(command[-4:])} ended with {done.returncode}: {output}")
    return done.stdout


def get_json(url: str, token: str | None = None, data: object = None) -> Any:
    """Return the JSON at a loopback address, without using a proxy."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = None if data is None else json.dumps(data).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body, headers), timeout=20) as answer:
        return json.load(answer)


def within(seconds: float, condition: Callable[[], str | None]) -> None:
    """Wait until `condition` returns None; otherwise it returns what is not right yet.

    :raises Failed: it takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            problem = condition()
        except (OSError, Failed) as error:
            problem = str(error)
        if problem is None:
            return
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:.0f} s: {problem}")
        time.sleep(2)


def write_settings(file: Path, lake: str) -> dict[str, str]:
    """Write settings and secrets like `make secrets`, with free ports and a difficult password.

    :returns: their values.
    """
    run(["bash", str(ROOT / "scripts" / "secrets.sh"), str(file)])
    text = file.read_text()
    ports = ("PAGE_PORT", "AIRFLOW_PORT", "MINIO_CONSOLE_PORT")
    changed = {
        "COMPOSE_PROFILES": f"{lake},demo",
        **dict(zip(ports, map(str, free_ports(len(ports))), strict=True)),
        "POSTGRES_PASSWORD": f"'{DIFFICULT_PASSWORD}'",
    }
    for name, value in changed.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    file.write_text(text)
    return {name: value or "" for name, value in dotenv_values(file).items()}
