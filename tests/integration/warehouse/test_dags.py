"""The DAGs as Airflow reads and runs them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from ast import literal_eval
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.embedded.environment import child_environment
from app.settings import Settings
from app.warehouse import published
from app.warehouse.airflow_cleanup import clean_database
from app.warehouse.failing import failing_tasks
from tests.conftest import ROOT
from tests.integration.warehouse.lake_writer import LakeWriter, candle, trade, watermark

IN_AIRFLOW = """
from airflow.dag_processing.dagbag import DagBag

bag = DagBag({dags!r})
assert not bag.import_errors, bag.import_errors
print(sorted(bag.dags))
{then}
"""


SYNCED = """
import datetime

import structlog
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.dag_processing.processor import _execute_callbacks
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

manager = DagBundlesManager()
manager.sync_bundles_to_db()
(bundle,) = manager.get_all_dag_bundles()
bundle.initialize()
bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
sync_bag_to_db(bag, bundle.name, bundle.version)


def create_run(run_id, began, state, session):
    began = datetime.datetime.fromisoformat(began)
    return SerializedDagModel.get_dag("stock_pipeline", session=session).create_dagrun(
        run_id=run_id,
        run_after=began,
        logical_date=began,
        data_interval=(began, began),
        run_type=DagRunType.SCHEDULED,
        triggered_by=DagRunTriggeredByType.TEST,
        state=state,
        start_date=began,
        session=session,
    )
"""
"""What the DAG processor and the scheduler do: the DAGs in the database, and runs of one."""


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


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's own database, just made."""
    home = tmp_path_factory.mktemp("airflow")
    airflow = Path(sys.executable).with_name("airflow")
    environment = airflow_environment(home)
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    return home / "airflow.db"


@pytest.fixture
def airflow_home(migrated: Path, tmp_path: Path) -> Path:
    """The folder of an Airflow whose database has no DAG yet."""
    home = tmp_path / "airflow"
    home.mkdir()
    shutil.copy(migrated, home)
    return home


@pytest.mark.drill
def test_minute_in_airflow_loads_builds_and_then_has_nothing_to_do(
    make_settings: Callable[..., Settings], airflow_home: Path
) -> None:
    settings = make_settings()
    lake = LakeWriter(settings)
    lake.put("candles", [candle("AAPL", 0, "10 12 9 11")])
    lake.put("trades", [trade("AAPL", 1, "10")])
    lake.put("coverage", [watermark("AAPL", 61)])
    environment = airflow_environment(airflow_home, settings)

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
    assert failing_tasks(settings).keys() == {"stock_quality.audit"}
    assert published.current_path(settings) is not None


def test_dags_are_read_and_loads_and_builds_come_first_in_the_pool(tmp_path: Path) -> None:
    output = run_in_airflow(
        airflow_environment(tmp_path / "airflow"),
        "tasks = [t for d in bag.dags.values() for t in d.tasks if t.pool == 'warehouse']\n"
        "print({t.task_id: (t.priority_weight, str(t.weight_rule),\n"
        "    t.execution_timeout.total_seconds() / 60, t.retries + 1) for t in tasks})\n"
        "print(bag.dags['stock_pipeline'].dagrun_timeout.total_seconds() / 60)\n",
    )

    dags, pool, run_minutes = map(literal_eval, output.splitlines()[-3:])
    assert dags == ["stock_maintenance", "stock_pipeline", "stock_quality", "stock_transform"]
    weights = {task: weight for task, (weight, _, _, _) in pool.items()}
    first = {task for task, (_, rule, _, _) in pool.items() if rule == "absolute"}
    assert first == {"load", "dbt_build"}
    assert min(weights[task] for task in first) > max(
        weights[task] for task in weights.keys() - first
    )
    _, _, minutes, tries = pool["load"]
    assert run_minutes > 2 * max(pool[task][2] for task in pool) + minutes * tries


@pytest.mark.drill
def test_the_parameters_of_a_run_name_past_days(airflow_home: Path) -> None:
    output = run_in_airflow(
        airflow_environment(airflow_home),
        "from types import SimpleNamespace\n"
        "from app.warehouse import tasks\n"
        "tasks.is_build_recorded = lambda: True\n"
        "tasks.data_tests = lambda: SimpleNamespace(tests=1)\n"
        "def audit(*dates):\n"
        "    print('AUDITED', *dates)\n"
        "    return SimpleNamespace(compared=1)\n"
        "def compact_lake(day):\n"
        "    print('COMPACTED', day)\n"
        "    return SimpleNamespace(written=1)\n"
        "tasks.audit, tasks.compact_lake = audit, compact_lake\n"
        "tasks.apply_retention = tasks.clean_airflow_database = lambda: None\n"
        "tasks.remove_airflow_logs = lambda folder: 0\n"
        "quality, maintenance = bag.dags['stock_quality'], bag.dags['stock_maintenance']\n"
        "quality.test(run_conf={'since': '2024-02-05', 'until': '2024-02-06'})\n"
        "maintenance.test(run_conf={'day': '2024-02-05'})\n",
    )

    assert "AUDITED 2024-02-05 2024-02-06" in output
    assert "COMPACTED 2024-02-05" in output


@pytest.mark.drill
def test_a_run_that_timed_out_is_reported(
    make_settings: Callable[..., Settings], airflow_home: Path
) -> None:
    settings = make_settings()
    then = (
        "with create_session() as session:\n"
        "    run = create_run('late', '2024-03-05T14:31:15+00:00', DagRunState.RUNNING, session)\n"
        "    request = SchedulerJobRunner(Job())._schedule_dag_run(run, session)\n"
        "_execute_callbacks(bag, [request], structlog.get_logger())\n"
    )
    output = run_in_airflow(airflow_environment(airflow_home, settings), SYNCED + then)

    assert "Run late of DAG stock_pipeline was stopped after 30 minutes" in output
    assert failing_tasks(settings).keys() == {"stock_pipeline.extract"}


@pytest.mark.drill
def test_old_runs_are_removed_from_airflows_database(
    airflow_home: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = airflow_home / "airflow.db"
    settings = make_settings(airflow_database_url=f"sqlite:///{database}", retention_airflow_days=3)
    now = datetime(2024, 3, 8, 12, tzinfo=UTC)
    ages = {"old": timedelta(days=4), "recent": timedelta(days=2), "newest": timedelta(0)}
    runs = {name: (now - age).isoformat() for name, age in ages.items()}
    environment = airflow_environment(airflow_home, settings)
    then = (
        "with create_session() as session:\n"
        f"    for name, began in {runs}.items():\n"
        "        create_run(name, began, DagRunState.SUCCESS, session)\n"
    )
    run_in_airflow(environment, SYNCED + then)

    monkeypatch.setenv("AIRFLOW_HOME", str(airflow_home))
    clean_database(settings, now)

    with closing(sqlite3.connect(database)) as connection:
        kept = connection.execute("select run_id from dag_run order by run_id").fetchall()
        tasks = connection.execute("select distinct run_id from task_instance").fetchall()
    assert kept == [("newest",), ("recent",)]
    assert sorted(tasks) == kept
