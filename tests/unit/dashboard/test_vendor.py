"""The libraries in `static/vendor` are those of their npm packages, with their licences."""

from __future__ import annotations

import hashlib
import json

import pytest

from app.dashboard.routes import STATIC

VENDOR = STATIC / "vendor"
ENTRIES = json.loads((VENDOR / "vendor.json").read_text())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["package"])
def test_a_library_is_the_file_of_its_package(entry: dict[str, str]) -> None:
    content = (VENDOR / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert entry["version"].encode() in content[:400]
    assert (VENDOR / f"{entry['package']}.LICENSE").exists()


def test_every_script_is_listed() -> None:
    assert {path.name for path in VENDOR.glob("*.js")} == {entry["file"] for entry in ENTRIES}
