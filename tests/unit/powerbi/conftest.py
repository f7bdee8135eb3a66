"""The project that the generator writes, as files in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.powerbi.contracts import read_contracts
from app.powerbi.project import project_files
from app.powerbi.tmdl import SnowflakeConnection
from app.warehouse.transform import PROJECT

Files = dict[str, bytes]


@pytest.fixture(scope="session")
def files() -> Files:
    return project_files(read_contracts(PROJECT), SnowflakeConnection())


@pytest.fixture(scope="session")
def documents(files: Files) -> dict[str, Any]:
    """Every JSON file of the project, parsed; the themes too."""
    kinds = (".json", ".pbip", ".pbir", ".pbism", ".platform")
    return {path: json.loads(text) for path, text in files.items() if path.endswith(kinds)}


@pytest.fixture(scope="session")
def visuals(documents: dict[str, Any]) -> dict[str, Any]:
    return {path: each for path, each in documents.items() if path.endswith("/visual.json")}
