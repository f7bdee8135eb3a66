"""Compact the lake, delete what is older than its retention, clean Airflow's database and logs.

Compaction writes `hourly/<dataset>/dt=YYYY-MM-DD/hr=HH.parquet` beside `bronze/`. Settings:
`RETENTION_RAW_DAYS`, `RETENTION_TRADES_DAYS`, `RETENTION_BRONZE_DAYS`, `RETENTION_AIRFLOW_DAYS`.

Parameter `day`: compact only the hours of this UTC day, for example a past one.
"""

from __future__ import annotations

from datetime import date, timedelta

from airflow.sdk import Param, dag, task
from airflow.sdk.configuration import conf

from app.warehouse.alerts import CALLBACKS, run_failed


@dag(
    schedule="40 3 * * *",  # daily at 03:40 UTC, when the US markets are closed
    catchup=False,  # without a start_date a new Airflow waits for the next time, too
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    on_failure_callback=run_failed,
    default_args={
        "retries": 1,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(minutes=30),
        **CALLBACKS,
    },
    params={
        "day": Param(
            None, type=["null", "string"], format="date", description="UTC day to compact."
        )
    },
    doc_md=__doc__,
    tags=["tickhouse"],
)
def stock_maintenance() -> None:
    # Needs the warehouse only to read the ledger, so it does not take the pool's slot.
    @task
    def compact_lake(params: dict[str, str | None]) -> int:
        """Write the hours of `hourly/` that are missing or out of date; return their number."""
        from app.warehouse.tasks import compact_lake

        day = params["day"]
        return compact_lake(date.fromisoformat(day) if day else None).written

    @task(pool="warehouse", execution_timeout=timedelta(minutes=10))
    def apply_retention() -> None:
        """Delete rows of RAW, silver's trades and objects of `bronze/` after their retention."""
        from app.warehouse.tasks import apply_retention

        apply_retention()

    @task
    def clean_airflow_database() -> None:
        """Remove old runs, XComs and log records from Airflow's database (`airflow db clean`)."""
        from app.warehouse.tasks import clean_airflow_database

        clean_airflow_database()

    @task
    def remove_airflow_logs() -> int:
        """Remove old log files of tasks and of Airflow's components; return their number."""
        from app.warehouse.tasks import remove_airflow_logs

        return remove_airflow_logs(conf.get("logging", "base_log_folder"))

    compact_lake() >> apply_retention()
    clean_airflow_database()
    remove_airflow_logs()


stock_maintenance()
