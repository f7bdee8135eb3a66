"""Topologies run only with the supported version of Quix Streams."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib import metadata

import pytest

from tests.conftest import ROOT
from tests.support import TICKHOUSE
from topologies.runtime.application import IncarnationApplication
from topologies.runtime.quix_version import QUIX_VERSION, QuixVersionError, check_quix


def test_the_version_that_is_checked_is_pinned_locked_and_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"quixstreams=={QUIX_VERSION}" in project["dependencies"]
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^quixstreams==(\S+)", lock, re.MULTILINE) == [QUIX_VERSION]
    check_quix()


@pytest.mark.parametrize("command", ["candles", "archive"])
def test_with_another_version_a_worker_stops_at_once_with_an_error(tmp_path, command):
    other = tmp_path / "quixstreams-3.25.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: quixstreams\nVersion: 3.25.0\n")
    result = subprocess.run(
        [TICKHOUSE, command],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == (
        f"error: quixstreams 3.25.0 is installed, and the topologies need {QUIX_VERSION}, as they "
        "override private parts of it: run make install.\n"
    )


def test_an_application_cannot_be_created_with_another_version(monkeypatch):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("topologies.runtime.quix_version.version", missing)
    with pytest.raises(QuixVersionError, match=r"^No quixstreams is installed"):
        IncarnationApplication(incarnations=None)
