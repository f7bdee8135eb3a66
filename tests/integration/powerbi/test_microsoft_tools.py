"""Microsoft's own checks: its report authoring CLI on the report, its parser on the queries in M.

Both are npm packages (MIT), installed for this test alone; without node or npm it is skipped. One
package that the CLI imports is not published: a placeholder stands for it, see `node/`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.powerbi.model import MODEL
from app.powerbi.project import REPORT_FOLDER, write_project
from app.powerbi.tmdl import SnowflakeConnection, power_query
from app.warehouse.transform import PROJECT

PACKAGE = Path(__file__).with_name("node")
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the packages are installed in."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"Microsoft's checks need {program}, which is not installed")
    folder = tmp_path_factory.mktemp("node") / "tools"
    shutil.copytree(PACKAGE, folder)
    installed = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=240)
    if installed.returncode:
        pytest.skip(f"npm cannot install Microsoft's checks: {installed.stderr[-300:]}")
    return folder


@pytest.fixture
def report(tmp_path: Path) -> Path:
    write_project(tmp_path, PROJECT, SnowflakeConnection())
    return tmp_path / REPORT_FOLDER


def validate(tools: Path, report: Path) -> dict[str, Any]:
    """Return the CLI's findings on a report, by its format's rules and its catalogue of visuals."""
    command = ["npx", "--no-install", "powerbi-report-author", "validate", "--no-schema"]
    done = subprocess.run(
        [*command, str(report)], cwd=tools, capture_output=True, text=True, timeout=120
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def parse_errors(tools: Path, texts: list[str]) -> list[str]:
    done = subprocess.run(
        ["node", "parse_power_query.mjs"],
        cwd=tools,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    errors: list[str] = json.loads(done.stdout)
    return errors


def test_authoring_cli_finds_nothing_wrong(tools: Path, report: Path) -> None:
    data = validate(tools, report)["data"]

    assert (data["result"], data["errorCount"], data["warningCount"]) == ("succeeded", 0, 0)


def test_authoring_cli_refuses_a_role_that_its_visual_has_not(tools: Path, report: Path) -> None:
    for path in report.rglob("visual.json"):
        visual = json.loads(path.read_text())
        if visual["visual"]["visualType"] == "gauge":
            state = visual["visual"]["query"]["queryState"]
            state["Speed"] = state.pop("Y")
            path.write_text(json.dumps(visual))

    assert "Speed" in json.dumps(validate(tools, report))


def test_every_query_parses_as_power_query(tools: Path) -> None:
    assert parse_errors(tools, [power_query(table.view) for table in MODEL.tables]) == []
    assert len(parse_errors(tools, [power_query("gold_kpi").replace("in\n", "in in\n")])) == 1
