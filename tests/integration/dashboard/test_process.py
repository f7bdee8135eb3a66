"""The process `tickhouse dashboard`: addresses it listens on, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import TICKHOUSE, listening

NO_BROKER = "127.0.0.1:1"


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"KAFKA_BROKERS": NO_BROKER, "TICKHOUSE_DATA_DIR": str(folder)}
    return subprocess.Popen(
        [TICKHOUSE, "dashboard", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(tmp_path, "--port", "0")
    yield process
    process.kill()
    process.wait()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    return found[0]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_while_a_page_is_open(
    process: subprocess.Popen[str], how: signal.Signals
) -> None:
    url = address_of(process)
    with urllib.request.urlopen(f"{url}events?symbol=AAPL") as events:
        assert events.readline() == b"retry: 2000\n"
        process.send_signal(how)
        assert b"event: snapshot\n" in events.readlines()
    _, complaints = process.communicate(timeout=20)
    assert process.returncode in (0, -how)
    assert "Traceback" not in complaints
    assert "Cancel" not in complaints


def test_it_listens_on_loopback_only(process: subprocess.Popen[str]) -> None:
    address_of(process)
    assert listening([psutil.Process(process.pid)]) == {"127.0.0.1"}


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(tmp_path, "--port", str(port))
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in complaint
    assert "--port" in complaint
    assert "Traceback" not in complaint
