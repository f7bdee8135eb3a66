"""The Power BI project: made of gold's contracts, always the same, and committed as it is made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import TickhouseError
from app.powerbi.contracts import ContractError, read_contracts
from app.powerbi.project import ProjectError, project_files, write_project
from app.powerbi.tmdl import SnowflakeConnection
from app.warehouse.transform import PROJECT
from tests.support import TICKHOUSE
from tests.unit.powerbi.conftest import Files

ROOT = PROJECT.parent
COMMITTED = ROOT / "powerbi"


def files_in(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".pbi" not in path.parts
    }


def changed_project(tmp_path: Path, view: str, old: str, new: str) -> Path:
    """A copy of the dbt project in which the contract of `view` has `new` in place of `old`."""
    copy = tmp_path / "dbt"
    shutil.copytree(PROJECT / "models", copy / "models")
    contract = copy / "models" / "gold" / f"{view}.yml"
    text = contract.read_text()
    assert old in text
    contract.write_text(text.replace(old, new))
    return copy


def test_two_runs_give_equal_bytes(files: Files) -> None:
    code = (
        "import hashlib, sys;"
        "from app.powerbi.project import project_files;"
        "from app.powerbi.contracts import read_contracts;"
        "from app.powerbi.tmdl import SnowflakeConnection;"
        "from app.warehouse.transform import PROJECT;"
        "files = project_files(read_contracts(PROJECT), SnowflakeConnection());"
        "sys.stdout.buffer.write(b''.join(name.encode() + body for name, body in files.items()))"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)

    assert other.stdout == b"".join(name.encode() + body for name, body in files.items())


def test_committed_project_is_what_the_generator_writes(files: Files) -> None:
    committed = files_in(COMMITTED)

    assert sorted(committed) == sorted(files), "run `tickhouse powerbi`"
    different = [name for name in files if committed[name] != files[name]]
    assert different == [], "run `tickhouse powerbi`"


def test_files_are_utf_8_without_byte_order_mark_and_end_lines_with_lf(files: Files) -> None:
    for name, content in files.items():
        assert not content.startswith(b"\xef\xbb\xbf"), name
        assert b"\r" not in content, name
        content.decode()


def test_renamed_column_of_gold_is_named_with_what_the_contract_has_instead(
    tmp_path: Path,
) -> None:
    project = changed_project(
        tmp_path, "gold_kpi", "- name: current_price\n", "- name: latest_price\n"
    )

    with pytest.raises(ContractError) as reported:
        project_files(read_contracts(project), SnowflakeConnection())

    assert "gold_kpi has no current_price" in str(reported.value)
    assert "latest_price" in str(reported.value)
    assert "app/powerbi/model.py" in str(reported.value)


def test_missing_view_of_gold_is_named(tmp_path: Path) -> None:
    project = changed_project(
        tmp_path, "gold_gauge", "- name: gold_gauge\n", "- name: gold_meter\n"
    )

    with pytest.raises(ContractError, match="gold_gauge is no gold view of the dbt project"):
        project_files(read_contracts(project), SnowflakeConnection())


def test_changed_description_of_a_column_changes_the_model(tmp_path: Path, files: Files) -> None:
    project = changed_project(
        tmp_path, "gold_kpi", "Time of current_price, UTC.", "When the price was made."
    )
    changed = project_files(read_contracts(project), SnowflakeConnection())

    assert [name for name in files if changed[name] != files[name]] == [
        "Tickhouse.SemanticModel/definition/tables/Prices.tmdl"
    ]


def test_connection_goes_into_the_parameters_of_the_model(files: Files) -> None:
    other = SnowflakeConnection('a.b"c', "W#(lf)", "R", "D", "S")
    changed = project_files(read_contracts(PROJECT), other)
    (name,) = [name for name in files if changed[name] != files[name]]
    text = changed[name].decode()

    assert name == "Tickhouse.SemanticModel/definition/expressions.tmdl"
    assert 'expression SnowflakeServer = "a.b""c" meta' in text
    assert 'expression SnowflakeWarehouse = "W#(#)(lf)" meta' in text
    assert 'expression SnowflakeSchema = "S" meta' in text


@pytest.mark.parametrize("server", ["", "two\nlines"])
def test_connection_that_no_parameter_can_hold_is_rejected(server: str) -> None:
    with pytest.raises(ProjectError, match="SnowflakeServer"):
        project_files(read_contracts(PROJECT), SnowflakeConnection(server=server))


def test_files_that_are_no_longer_made_go_and_what_power_bi_keeps_stays(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT, SnowflakeConnection())
    report = tmp_path / "Tickhouse.Report"
    old = report / "definition" / "pages" / "old" / "page.json"
    kept = [report / ".pbi" / "localSettings.json", tmp_path / "notes.txt"]
    for path in (old, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    write_project(tmp_path, PROJECT, SnowflakeConnection())

    assert not old.parent.exists()
    assert all(path.exists() for path in kept)


def test_output_that_is_no_folder_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")

    with pytest.raises(TickhouseError, match="no folder"):
        write_project(file, PROJECT, SnowflakeConnection())
    assert file.read_text() == "mine"


def test_command_writes_the_project(tmp_path: Path, files: Files) -> None:
    subprocess.run(
        [TICKHOUSE, "powerbi", "--out", str(tmp_path / "p"), "--server", "x.example"], check=True
    )
    written = files_in(tmp_path / "p")

    assert sorted(written) == sorted(files)
    assert b"x.example" in written["Tickhouse.SemanticModel/definition/expressions.tmdl"]
