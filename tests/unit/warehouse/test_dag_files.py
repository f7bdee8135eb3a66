"""DAG files are wiring: of Tickhouse they import app.warehouse alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

DAGS = sorted((ROOT / "airflow" / "dags").glob("*.py"))
LIGHT = {"app.warehouse.alerts", "app.warehouse.schedule"}
"""Modules that import little: Airflow imports them at each parse of a DAG file."""


def imported(nodes: list[ast.AST]) -> set[str]:
    names = {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    names |= {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return {name for name in names if name.split(".")[0] in ("app", "sinks", "topologies")}


@pytest.mark.parametrize("file", DAGS, ids=lambda file: file.stem)
def test_a_dag_imports_only_the_warehouse(file: Path) -> None:
    tree = ast.parse(file.read_text())

    assert imported(list(tree.body)) <= LIGHT
    assert imported(list(ast.walk(tree))) <= LIGHT | {"app.warehouse.tasks"}
