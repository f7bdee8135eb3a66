"""DAG `stock_transform`: run `dbt build` on what a load changed, then publish gold to its readers.

The work is done in `app.warehouse.tasks`, which runs dbt in a subprocess under the warehouse's
lock. The task imports it when it runs, so that parsing this file stays cheap.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task

RAW_STOCKS = Asset(name="raw_stocks", uri="x-tickhouse://warehouse/raw")


@dag(
    schedule=[RAW_STOCKS],
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    tags=["tickhouse"],
)
def stock_transform() -> None:
    @task(execution_timeout=timedelta(minutes=25))
    def dbt_build() -> str:
        """Build and test silver and gold; return the path of the file that readers open."""
        from app.warehouse.tasks import build

        return str(build().published)

    dbt_build()


stock_transform()
