"""Build silver and gold from what was loaded, test them, and publish gold to its readers.

Runs when a load emits the asset event `raw_stocks`. dbt runs in a subprocess under the warehouse's
lock; if a model or a test fails, readers keep the gold of the last good build, the log names the
node, and the next load starts a build again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task

from app.warehouse.alerts import CALLBACKS, run_failed

RAW_STOCKS = Asset(name="raw_stocks", uri="x-tickhouse://warehouse/raw")


@dag(
    schedule=[RAW_STOCKS],
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=45),  # tasks before it in the pool, then two tries
    on_failure_callback=run_failed,
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=5),
        "priority_weight": 10,  # as stock_pipeline
        "weight_rule": "absolute",
        **CALLBACKS,
    },
    doc_md=__doc__,
    tags=["tickhouse"],
)
def stock_transform() -> None:
    # Seconds, also of all models after a change of the dbt project; a rebuild that was interrupted
    # is continued by each try, in passes.
    @task(pool="warehouse", execution_timeout=timedelta(minutes=10))
    def dbt_build() -> str:
        """Build and test silver and gold; return the path of the file that readers open."""
        from app.warehouse.tasks import build

        return str(build().published)

    dbt_build()


stock_transform()
