"""Test all rows of the warehouse, and compare candles with the trades they were made of.

Each build tests only what it changed; this DAG runs all data tests on all rows, and the audit,
which computes every candle of the session dates anew, in SQL. A failure names what differs; the
same on a command line: `tickhouse audit`. Before the first build there is nothing to test, and the
run is skipped.

Parameter `since`: the first session date to audit, for example of a past day; by default the last
four days, which have a trading day at any time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from app.warehouse.alerts import CALLBACKS, run_failed

AUDITED_DAYS = 4


@dag(
    schedule="37 * * * * 45",  # hourly, between two loads
    catchup=False,  # without a start_date a new Airflow waits for the next time, too
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=55),
    on_failure_callback=run_failed,
    default_args={
        "retries": 0,  # a failure is a finding
        **CALLBACKS,
    },
    params={
        "since": Param(
            None, type=["null", "string"], format="date", description="First session date to audit."
        )
    },
    doc_md=__doc__,
    tags=["tickhouse"],
)
def stock_quality() -> None:
    # Without the pool: the first runs of load and build are not to wait for it.
    @task(execution_timeout=timedelta(minutes=1))
    def require_build() -> None:
        """Skip the run until a build has ended, well or not."""
        from app.warehouse.tasks import is_build_recorded

        if not is_build_recorded():
            raise AirflowSkipException("Nothing has been built yet.")

    @task(pool="warehouse", execution_timeout=timedelta(minutes=20))
    def data_tests() -> int:
        """Run all data tests on all rows; return their number."""
        from app.warehouse.tasks import data_tests

        return data_tests().tests

    @task(pool="warehouse", execution_timeout=timedelta(minutes=30))
    def audit(params: dict[str, str | None]) -> int:
        """Compute candles anew from trades; fail with the differences. Return their number."""
        from app.warehouse.tasks import audit

        since = params["since"]
        recent = datetime.now(UTC).date() - timedelta(days=AUDITED_DAYS)
        return audit(date.fromisoformat(since) if since else recent).compared

    require_build() >> [data_tests(), audit()]


stock_quality()
