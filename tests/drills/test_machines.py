"""The pipeline on other people's machines: time zone, umask, path, localhost, and a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import TICKHOUSE

ROOT = Path(__file__).resolve().parents[2]
ODD_FOLDER = "Börse, 100% mit #1 & 'zwei' [x]"
pytestmark = pytest.mark.drill


@pytest.fixture
def ipv6_localhost(tmp_path: Path) -> list[str]:
    """Prefix of a command for which `localhost` is ::1 alone; empty where that cannot be had."""
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 localhost\n")
    prefix = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount --bind "{hosts}" /etc/hosts && exec "$@"',
        "sh",
    ]
    found = subprocess.run(
        [*prefix, "getent", "ahosts", "localhost"], capture_output=True, text=True, check=False
    )
    if found.returncode or "127.0.0.1" in found.stdout:
        return []
    return prefix


def test_gold_equals_published_bars_in_kolkata_with_umask_077_in_an_odd_path_with_ipv6_localhost(
    tmp_path: Path, ipv6_localhost: list[str], record_property: Callable[[str, object], None]
) -> None:
    record_property("ipv6_localhost", bool(ipv6_localhost))
    nowhere = "http://127.0.0.1:1"
    done = subprocess.run(
        [
            *ipv6_localhost,
            *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
            *("--basetemp", str(tmp_path / ODD_FOLDER)),
            *("tests/integration/test_whole_way.py", "-k", "two_incarnations"),
        ],
        cwd=ROOT,
        env=os.environ | {"TZ": "Asia/Kolkata", "http_proxy": nowhere, "https_proxy": nowhere},
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 1 MiB on which nothing more can be written."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        with (folder / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", ["demo", "produce", "candles", "load", "audit"])
def test_a_full_disk_is_a_sentence(full_disk: Path, command: str) -> None:
    settings = {"FINNHUB_API_KEY": "a-test-key-1", "KAFKA_BROKERS": "127.0.0.1:1"}
    done = subprocess.run(
        [TICKHOUSE, command],
        cwd=full_disk,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
