"""A call that may end the process stands nowhere (docs/quix.md, fault 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("folder", ["app", "topologies", "sinks", "airflow"])
def test_no_admin_client_asks_for_committed_offsets(folder: str) -> None:
    modules = sorted((ROOT / folder).rglob("*.py"))
    assert modules
    callers = [m.name for m in modules if "list_consumer_group_offsets" in m.read_text()]
    assert callers == []
