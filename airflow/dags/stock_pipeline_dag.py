"""DAG `stock_pipeline`: load new objects of the lake into the warehouse's RAW schema, each minute.

The work is done in `app.warehouse.tasks`. Tasks import it when they run: Airflow parses this file
every few seconds, and would import DuckDB and boto3 each time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowSkipException

RAW_STOCKS = Asset(name="raw_stocks", uri="x-tickhouse://warehouse/raw")
MAX_OBJECTS_PER_RUN = 2_000


@dag(
    schedule="* * * * *",  # the ledger decides what is loaded, not the logical date
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=15),
    tags=["tickhouse"],
)
def stock_pipeline() -> None:
    @task(execution_timeout=timedelta(minutes=10))
    def extract() -> list[list[object]]:
        """List the key, etag and size of the objects that are new in the lake."""
        from app.warehouse.tasks import extract

        return [list(item) for item in extract(limit=MAX_OBJECTS_PER_RUN)]

    @task(outlets=[RAW_STOCKS], execution_timeout=timedelta(minutes=10))
    def load(listed: list[tuple[str, str, int]]) -> dict[str, int]:
        """Load their rows into RAW; emit the asset event when gold is behind the ledger."""
        from app.warehouse.tasks import load

        report = load(listed)
        if not report.build_due:
            raise AirflowSkipException("gold is up to date with the ledger")
        return report.rows

    load(extract())


stock_pipeline()
