"""Airflow runs scheduled minutes on each warehouse, and is killed in a load and in a build."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from app.embedded.airflow import Airflow
from app.embedded.environment import child_environment
from app.embedded.ports import free_ports
from app.embedded.process import ChildProcess
from app.embedded.supervisor import Part, Supervisor
from app.settings import Settings
from tests.drills.warehouses import DrillWarehouse
from tests.integration.warehouse.lake_writer import LakeWriter, candle, trade, watermark
from tests.support import HANG_S, await_

pytestmark = [pytest.mark.drill, pytest.mark.soak]

MINUTES = 3
ARCHIVED_S = 10
"""Second of a minute in which the final candles of the one before it are in the lake."""
GOLD_S = 150
"""Time from Airflow's start after a crash until gold has all minutes: the specification's limit."""


class RunningAirflow:
    """Airflow as the demo runs it, whose tasks load and build the warehouse of `settings`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._processes: list[ChildProcess] = []
        self._airflow = Airflow(
            folder / "airflow",
            free_ports(1)[0],
            child_environment(settings),
            folder,
        )

    def __enter__(self) -> RunningAirflow:
        self._airflow.wait_migrated(self._airflow.migrate(), lambda: None)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._supervisor.stop()

    def start(self) -> None:
        self._supervisor, self._processes = Supervisor(print), []
        for parts in (self._airflow.first_parts(), self._airflow.last_parts()):
            self._supervisor.start(*map(self._noted, parts))
            self._supervisor.wait_ready([part.name for part in parts], HANG_S)

    def kill(self) -> None:
        """SIGKILL to every process of Airflow's, those of tasks among them."""
        roots = [psutil.Process(process.pid) for process in self._processes]
        tasks = [child for root in roots for child in root.children(recursive=True)]
        for process in (*roots, *tasks):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(tasks)

    def _noted(self, part: Part) -> Part:
        def launch() -> ChildProcess:
            self._processes.append(part.launch())
            return self._processes[-1]

        return dataclasses.replace(part, launch=launch)

    def scheduled_successes(self) -> int:
        """How many scheduled runs of the pipeline have ended well."""
        database = f"file:{self._airflow.folder / 'airflow.db'}?mode=ro"
        with closing(sqlite3.connect(database, uri=True, timeout=30)) as connection:
            found: int = connection.execute(
                "select count(*) from dag_run where dag_id = 'stock_pipeline' "
                "and run_type = 'scheduled' and state = 'success'"
            ).fetchone()[0]
            return found


class Lake:
    """A lake that grows by a minute at a time."""

    def __init__(self, settings: Settings) -> None:
        self._writer = LakeWriter(settings)
        self.minutes = 0

    def add_minute(self) -> None:
        minute, self.minutes = self.minutes, self.minutes + 1
        self._writer.put("trades", [trade("AAPL", 60 * minute + second, "10") for second in (1, 2)])
        self._writer.put("candles", [candle("AAPL", minute, "10 12 9 11")])
        self._writer.put("coverage", [watermark("AAPL", 60 * minute + 61)])


def await_archived() -> float:
    """Wait for the time of the archive's next flush; the UNIX time of the end of its minute."""
    end = (time.time() // 60 + 1) * 60
    await_(lambda: time.time() >= end + ARCHIVED_S, what="the archive's flush")
    return end


def await_holder(warehouse: DrillWarehouse, purpose: str) -> None:
    """Wait until a process holds the warehouse's lock for `purpose`."""
    lock = warehouse.settings.warehouse_path.with_suffix(".lock")
    await_(lambda: lock.read_text().startswith(f"{purpose} "), what=f"a {purpose}")


def test_scheduled_minutes_reach_gold_and_a_killed_airflow_goes_on(
    warehouse: DrillWarehouse, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    lake = Lake(warehouse.settings)

    def gold_is_complete() -> bool:
        return warehouse.candles_in_gold() == lake.minutes

    with RunningAirflow(warehouse.settings, tmp_path) as airflow:
        after_s = []
        for _ in range(MINUTES):
            end = await_archived()
            lake.add_minute()
            await_(gold_is_complete, what="the minute in gold")
            after_s.append(round(time.time() - end))
        record_property("gold_after_end_of_minute_s", after_s)
        await_(lambda: airflow.scheduled_successes() >= MINUTES, what="scheduled runs")

        for purpose in ("load", "build"):
            lake.add_minute()
            await_holder(warehouse, purpose)
            airflow.kill()
            assert not gold_is_complete()
            restarted = time.monotonic()
            airflow.start()
            await_(gold_is_complete, what=f"gold after a kill in a {purpose}")
            complete_s = round(time.monotonic() - restarted)
            record_property(f"gold_after_restart_in_{purpose}_s", complete_s)
            assert complete_s <= GOLD_S

    silver = warehouse.query("select _offset from SILVER.SILVER_TRADES order by _offset")
    assert silver == [(offset,) for offset in range(2 * lake.minutes)]
