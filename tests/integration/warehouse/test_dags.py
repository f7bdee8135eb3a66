"""The DAGs as Airflow reads and runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path

import pytest

from app.embedded.environment import child_environment
from app.settings import Settings
from app.warehouse import published
from tests.conftest import ROOT
from tests.integration.warehouse.lake_writer import LakeWriter, candle, trade, watermark

IN_AIRFLOW = """
from airflow.dag_processing.dagbag import DagBag

bag = DagBag({dags!r})
assert not bag.import_errors, bag.import_errors
print(sorted(bag.dags))
{then}
"""


def airflow_environment(home: Path, settings: Settings | None = None) -> dict[str, str]:
    """The environment of an Airflow process whose tasks see `settings`."""
    return (child_environment(settings) if settings else dict(os.environ)) | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def run_in_airflow(environment: dict[str, str], then: str = "") -> str:
    """Read the DAGs in a process of its own, go on with `then`, and give what it printed."""
    script = IN_AIRFLOW.format(dags=str(ROOT / "airflow" / "dags"), then=then)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def migrate(environment: dict[str, str]) -> None:
    """Make Airflow's own database."""
    airflow = Path(sys.executable).with_name("airflow")
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)


@pytest.mark.drill
def test_minute_in_airflow_loads_builds_and_then_has_nothing_to_do(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings()
    lake = LakeWriter(settings)
    lake.put("candles", [candle("AAPL", 0, "10 12 9 11")])
    lake.put("trades", [trade("AAPL", 1, "10")])
    lake.put("coverage", [watermark("AAPL", 61)])
    environment = airflow_environment(tmp_path / "airflow", settings)
    migrate(environment)

    output = run_in_airflow(
        environment,
        "early = bag.dags['stock_quality'].test()\n"
        "print('EARLY', {t.task_id: str(t.state) for t in early.get_task_instances()})\n"
        "load = bag.dags['stock_pipeline'].test()\n"
        "print('LOAD', {t.task_id: str(t.state) for t in load.get_task_instances()})\n"
        "build = bag.dags['stock_transform'].test()\n"
        "print('BUILD', {t.task_id: str(t.state) for t in build.get_task_instances()})\n"
        "again = bag.dags['stock_pipeline'].test()\n"
        "print('AGAIN', {t.task_id: str(t.state) for t in again.get_task_instances()})\n"
        "tested = bag.dags['stock_quality'].test()\n"
        "print('TESTED', {t.task_id: str(t.state) for t in tested.get_task_instances()})\n",
    )

    states = dict(
        line.split(" ", 1)
        for line in output.splitlines()
        if line.startswith(("EARLY ", "LOAD ", "BUILD ", "AGAIN ", "TESTED "))
    )
    assert set(literal_eval(states["EARLY"]).values()) == {"skipped"}
    assert states["LOAD"] == "{'extract': 'success', 'load': 'success'}"
    assert states["BUILD"] == "{'dbt_build': 'success'}"
    assert states["AGAIN"] == "{'extract': 'success', 'load': 'skipped'}"
    # Candles are loaded, but the last four days have none, and nothing compared is a failure.
    assert literal_eval(states["TESTED"]) == {
        "require_build": "success",
        "data_tests": "success",
        "audit": "failed",
    }
    assert published.current_path(settings) is not None


def test_dags_are_read_without_error(tmp_path: Path) -> None:
    output = run_in_airflow(airflow_environment(tmp_path / "airflow"))

    assert "['stock_maintenance', 'stock_pipeline', 'stock_quality', 'stock_transform']" in output
