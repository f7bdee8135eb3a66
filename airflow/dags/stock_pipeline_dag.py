"""Load new objects of the lake into the warehouse's RAW schema, right after the archive's flush.

`extract` lists what the ledger does not have yet, without opening the warehouse; `load` brings it
into RAW, each object once, and emits the asset event `raw_stocks` when a build is due. The ledger
decides what is loaded, not the logical date: a run that was missed is made up for by the next.

Settings: `WAREHOUSE_LOAD_MINUTES` (how often), `WAREHOUSE_BUILD_MINUTES` (how often a build is
due). A bad object is named in `RAW.REJECTED_OBJECTS`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from app.warehouse.alerts import CALLBACKS, run_failed
from app.warehouse.schedule import load_cron

# Tasks import app.warehouse.tasks when they run: it imports DuckDB and boto3, and Airflow parses
# this file again and again.

RAW_STOCKS = Asset(name="raw_stocks", uri="x-tickhouse://warehouse/raw")
MAX_OBJECTS_PER_RUN = 2_000


@dag(
    schedule=load_cron(),  # each minute, some seconds after the minute's final candles
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),  # two tasks of 10 minutes in the pool, then three tries
    on_failure_callback=run_failed,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "priority_weight": 10,  # before tests, audit and retention, which wait for the pool as well
        "weight_rule": "absolute",
        **CALLBACKS,
    },
    doc_md=__doc__,
    tags=["tickhouse"],
)
def stock_pipeline() -> None:
    @task(execution_timeout=timedelta(seconds=45))
    def extract() -> list[list[object]]:
        """List the key, etag and size of the lake's objects to load: new ones, and repaired ones.

        At most 2,000 an object list; the next run continues.
        """
        from app.warehouse.tasks import extract

        return [list(item) for item in extract(limit=MAX_OBJECTS_PER_RUN)]

    # 2,000 objects take 8 s from an S3 server nearby; what a try has committed is not loaded again.
    @task(outlets=[RAW_STOCKS], pool="warehouse", execution_timeout=timedelta(minutes=3))
    def load(listed: list[tuple[str, str, int]]) -> dict[str, int]:
        """Load their rows into RAW; skipped, without asset event, when no build is due."""
        from app.warehouse.tasks import load

        report = load(listed)
        if not report.build_due:
            raise AirflowSkipException("No build is due.")
        return report.rows

    load(extract())


stock_pipeline()
