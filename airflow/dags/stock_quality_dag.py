"""Test all rows of the warehouse, and compare candles with the trades they were made of.

Each build tests only what it changed; this DAG runs all data tests on all rows, and the audit,
which computes every candle of the session dates anew, in SQL. A failure names what differs; the
same on a command line: `tickhouse audit`. Before the first build there is nothing to test, and the
run is skipped.

Parameters `since` and `until`: the first and last session date to audit, the same of both for a
past day. By default the last four days are audited, which include a trading day at any time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from app.warehouse.alerts import CALLBACKS, run_failed


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
        ),
        "until": Param(
            None, type=["null", "string"], format="date", description="Last session date to audit."
        ),
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

    # Loads wait while one of these has the pool's slot, and come before the next.
    @task(pool="warehouse", execution_timeout=timedelta(minutes=10))
    def data_tests() -> int:
        """Run all data tests on all rows; return their number."""
        from app.warehouse.tasks import data_tests

        return data_tests().tests

    @task(pool="warehouse", execution_timeout=timedelta(minutes=10))
    def audit(params: dict[str, str | None]) -> int:
        """Compute candles anew from trades; fail with the differences. Return their number."""
        from app.warehouse.tasks import audit, audited_dates

        today = datetime.now(UTC).date()
        return audit(*audited_dates(params["since"], params["until"], today)).compared

    require_build() >> [data_tests(), audit()]


stock_quality()
