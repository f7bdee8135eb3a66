"""After each load: one `dbt build` of what it touched, then gold is published to its readers.

Wiring only; the work is in app.warehouse.commands, which runs dbt as a process of its own under the
warehouse's lock. It is imported inside the task to keep this file cheap to parse.
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
        """Silver and gold up to the newest load, tested and published; the file readers open."""
        from app.settings import load_settings
        from app.warehouse.commands import build

        report = build(load_settings())
        return str(report.published)

    dbt_build()


stock_transform()
