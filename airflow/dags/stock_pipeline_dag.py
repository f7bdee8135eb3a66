"""Each minute: what is new in the lake goes into the warehouse's RAW schema.

Wiring only; the work is in app.warehouse.commands. It is imported inside the tasks because Airflow
parses this file every few seconds, and DuckDB and boto3 would be imported each time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowSkipException

RAW_STOCKS = Asset(name="raw_stocks", uri="x-tickhouse://warehouse/raw")
OBJECTS_A_RUN = 2_000


@dag(
    schedule="* * * * *",  # each minute; what to load is read from the ledger, not from the clock
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=15),
    tags=["tickhouse"],
)
def stock_pipeline() -> None:
    @task(execution_timeout=timedelta(minutes=10))
    def extract() -> list[list[object]]:
        """Key, etag and size of the objects that are new in the lake."""
        from app.settings import load_settings
        from app.warehouse.commands import extract

        return [list(item) for item in extract(load_settings(), limit=OBJECTS_A_RUN)]

    @task(outlets=[RAW_STOCKS], execution_timeout=timedelta(minutes=10))
    def load(listed: list[tuple[str, str, int]]) -> dict[str, int]:
        """Their rows into RAW; the Asset event is due while the ledger is ahead of gold."""
        from app.settings import load_settings
        from app.warehouse.commands import load

        report = load(load_settings(), listed)
        if not report.build_due:
            raise AirflowSkipException("gold is up to date with the ledger")
        return report.rows

    load(extract())


stock_pipeline()
