"""compose.yaml: what a parser of the format does not check."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import cli
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())[
        "services"
    ]
    return services


def test_every_published_port_is_this_machines_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_process_of_tickhouse_is_a_command_there_is(services: dict[str, Any]) -> None:
    commands = {
        command.callback.__name__ for command in cli.registered_commands if command.callback
    }
    lines = [str(service.get("command", "")).split() for service in services.values()]
    used = {words[1] for words in lines if words[:1] == ["tickhouse"]}
    assert used == {"produce", "candles", "archive", "dashboard"}
    assert used <= commands


def test_every_variable_of_tickhouses_is_a_setting(services: dict[str, Any]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name in ("produce", "candles", "archive", "dashboard", "airflow-scheduler"):
        variables = set(services[name]["environment"])
        assert {v for v in variables if not v.startswith("AIRFLOW__")} <= known, name


def test_only_the_producer_holds_finnhubs_key(services: dict[str, Any]) -> None:
    holders = [
        name for name, s in services.items() if "FINNHUB_API_KEY" in s.get("environment", {})
    ]
    assert holders == ["produce"]


def test_what_names_itself_by_its_host_keeps_its_name(services: dict[str, Any]) -> None:
    for name in ("produce", "candles"):
        assert services[name]["hostname"] == name


def test_every_image_is_of_a_version(services: dict[str, Any]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = set(re.findall(r" AS (\S+)$", dockerfile, re.MULTILINE))
    built_on = re.findall(r"^FROM (\S+)|--from=(\S+)", dockerfile, re.MULTILINE)
    bases = {name or other for name, other in built_on} - stages
    images = {service["image"] for service in services.values()} - {"tickhouse:local"}
    assert bases
    for image in bases | images:
        assert re.search(r":[^/]*\d", image), image


def test_every_python_package_of_the_image_is_of_the_lock() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    commands = [part.strip() for line in text.splitlines() for part in line.split("&&")]
    installs = [c for c in commands if re.search(r"\bpip .*(install|sync)", c)]
    taken = [c for c in installs if "requirements.lock" in c]
    own = [c for c in installs if c.endswith("--no-deps --no-build-isolation --editable .")]
    assert len(taken) == len(own) == 1
    assert "--require-hashes" in taken[0]
    assert installs == [*taken, *own]


def test_the_lock_holds_what_the_image_needs_beyond_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    assert project["dependency-groups"]["image"]
    for name in project["dependency-groups"]["image"]:
        assert re.search(rf"^{name}==", lock, re.MULTILINE), f"{name}: run `make lock`"
