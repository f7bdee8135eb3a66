"""Servers and settings for the tests: real Kafka, real S3, a real browser, nothing shared outside.

A server that cannot be started fails the tests that need it; it never skips them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from app.embedded.kafka import KafkaServer
from app.embedded.s3 import S3Server
from app.settings import Settings
from scripts.compile import what_is_missing
from tests.recording_host import RecordingHost
from tests.snowflake_local.process import LocalSnowflake
from tests.support import settings_on

settings.register_profile("gate", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("fuzz", database=None, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("TICKHOUSE_TEST_PROFILE", "gate"))

ROOT = Path(__file__).resolve().parent.parent
TEST_BUCKET = "tickhouse-tests"
QUICK_JAVA = "-XX:TieredStopAtLevel=1"
"""The embedded Kafka's own options compile for long runs; a test's broker lives for seconds."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests measured, which `record_property` would write to a JUnit file only."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call" and report.user_properties:
                figures = ", ".join(f"{name} {value}" for name, value in report.user_properties)
                terminalreporter.write_line(f"{report.nodeid}: {figures}")


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """No setting of the person who runs the tests reaches them or their child processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("JDK_JAVA_OPTIONS", QUICK_JAVA)
        yield


@pytest.fixture
def utc() -> Iterator[None]:
    """Moments without a zone, as the lake and gold have them, are read as UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingHost]:
    """The proxy of every variable that names one; it connects to nothing."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with RecordingHost(answer=b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n") as host:
        for scheme in ("http", "https", "ws", "wss", "all"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://{host.address}")
            monkeypatch.setenv(f"{scheme}_proxy".upper(), f"http://{host.address}")
        yield host


@pytest.fixture(scope="session")
def gold_data() -> Path:
    """The folder of a recorded day of COMEX gold; its README names source and licence."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of recorded trades of US equities; without it the test is skipped."""
    named = os.environ.get("TICKHOUSE_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "us_equities_trades.parquet").exists():
        pytest.skip(
            f"no recorded trades of US equities in {folder}, which are not part of this "
            "repository; set TICKHOUSE_TEST_DATA to their folder"
        )
    return folder


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, formatted_kafka: Path) -> Iterator[KafkaServer]:
    """The session's Kafka. Do not stop it: who restarts or kills takes `private_kafka`."""
    folder = tmp_path_factory.mktemp("kafka")
    shutil.copytree(formatted_kafka, folder / "data")
    with KafkaServer(folder) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_brokers(request: pytest.FixtureRequest) -> str:
    """The value for KAFKA_BROKERS; TICKHOUSE_TEST_KAFKA_BROKERS names one that stands already."""
    given = os.environ.get("TICKHOUSE_TEST_KAFKA_BROKERS")
    if given:
        return given
    server: KafkaServer = request.getfixturevalue("kafka")
    return server.brokers


@pytest.fixture(scope="session")
def formatted_kafka(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a Kafka that was formatted but never started, to be copied."""
    folder = tmp_path_factory.mktemp("formatted-kafka")
    KafkaServer(folder).prepare()
    return folder / "data"


@pytest.fixture
def private_kafka(tmp_path: Path, formatted_kafka: Path) -> Iterator[KafkaServer]:
    """A Kafka for one test alone, which may stop, kill and start it."""
    shutil.copytree(formatted_kafka, tmp_path / "kafka" / "data")
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The session's S3 server: `endpoint_url`, `access_key`, `secret_key`, `client()`."""
    with S3Server(tmp_path_factory.mktemp("s3"), bucket=TEST_BUCKET) as server:
        yield server


@pytest.fixture(scope="session")
def local_snowflake(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSnowflake]:
    """The session's stand-in for Snowflake: `connect()`, `statements()`. Do not stop it.

    External stages read the session's S3 server.
    """
    with LocalSnowflake.beside(s3_server, tmp_path_factory.mktemp("snowflake")) as server:
        yield server


@pytest.fixture
def snowflake_database(local_snowflake: LocalSnowflake) -> str:
    """The name of an empty database of the stand-in."""
    return local_snowflake.new_database()


@pytest.fixture
def make_settings(
    kafka_brokers: str, s3_server: S3Server, tmp_path: Path
) -> Callable[..., Settings]:
    """Settings on real servers, each call with a namespace and a data folder of its own.

    Feed "replay"; any field by keyword. The bucket exists, topics do not.
    """

    def make(**overrides: Any) -> Settings:
        return settings_on(
            s3_server, tmp_path / "data", **({"kafka_brokers": kafka_brokers} | overrides)
        )

    return make


@pytest.fixture(scope="session")
def compiled_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the core compiled, for PYTHONPATH; under CI the lack of a compiler fails."""
    missing = what_is_missing()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("compiled")
    command = [sys.executable, str(ROOT / "scripts" / "compile.py"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def chromium_path() -> str | None:
    """The browser of this machine, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium driven by playwright; under CI its absence is a failure.

    Of the module, not of the session: while it is open, playwright's event loop counts as running
    in this thread, and `asyncio.run` of every later test would fail.
    """
    path = chromium_path()
    if path is None:
        reason = f"no browser: none of {', '.join(BROWSERS)} is on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, headless=True, args=BROWSER_FLAGS
        )
        yield chromium
        chromium.close()
