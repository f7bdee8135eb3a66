"""Faults of the loader, one after the other on one lake: in the end silver equals the topics.

Each fault comes with new objects, so that one which loses or repeats rows is seen at the end.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.embedded.environment import child_environment
from app.lake import DATASETS, ROW_IDENTITY, ObjectKey, s3_client
from app.lake_errors import LakeError
from app.warehouse.commands import build, extract, load
from app.warehouse.interface import RELISTED_KEYS, WarehouseError
from tests.conftest import ROOT
from tests.drills.steps import Step, interrupt
from tests.drills.warehouses import (
    AFTER_COMMIT,
    BEFORE_COMMIT,
    DrillWarehouse,
    OnSnowflake,
)
from tests.integration.warehouse.lake_writer import (
    STOCKS_INCARNATION,
    LakeWriter,
    candle,
    trade,
    watermark,
)
from tests.support import HANG_S, TICKHOUSE

pytestmark = pytest.mark.drill

NEWER_INCARNATION = STOCKS_INCARNATION.replace("17096", "17097")
ROW = (*ROW_IDENTITY, "price")


class Pipeline:
    """A lake and its warehouse; `archived` has the identity and the price of the topic's rows."""

    def __init__(self, warehouse: DrillWarehouse) -> None:
        self.warehouse, self.settings = warehouse, warehouse.settings
        self.query = warehouse.query
        self.lake = LakeWriter(self.settings)
        self.archived: set[tuple[Any, ...]] = set()
        self._offset = 0

    def archive(self, objects: int = 2) -> None:
        """Write objects of three messages each."""
        for _ in range(objects):
            offset = self.next_offset()
            self.put(range(offset, offset + 3))

    def put(self, offsets: range, incarnation: str = STOCKS_INCARNATION) -> ObjectKey:
        rows = [trade("AAPL", offset, str(10 + offset % 7)) for offset in offsets]
        self.archived |= {
            (incarnation, 0, offset, 0, row["price"])
            for offset, row in zip(offsets, rows, strict=True)
        }
        return self.lake.put("trades", rows, incarnation=incarnation, first_offset=offsets[0])

    def next_offset(self) -> int:
        self._offset += 3
        return self._offset - 3

    def in_raw(self) -> set[tuple[Any, ...]]:
        return set(self.query(f"select {', '.join(ROW)} from RAW.TRADES"))

    def in_silver(self) -> list[tuple[Any, ...]]:
        return self.query(f"select {', '.join(ROW)} from SILVER.SILVER_TRADES")

    def not_loaded_once(self) -> list[tuple[Any, ...]]:
        """Objects without one row in the ledger, or whose rows in RAW are not as many as it has."""
        return self.query(
            "select object_key from RAW.LOAD_LEDGER left join "
            "(select _object, count(*) as found from RAW.TRADES group by _object) as loaded "
            "on _object = object_key where dataset = 'trades' group by object_key "
            "having count(*) <> 1 or max(row_count) <> max(coalesce(found, 0))"
        )


Fault = Callable[[Pipeline], None]


@pytest.mark.parametrize("warehouse", ["duckdb", "snowflake", "snowflake-external"], indirect=True)
def test_silver_equals_the_topic_after_every_fault(warehouse: DrillWarehouse) -> None:
    pipeline, settings = Pipeline(warehouse), warehouse.settings
    pipeline.lake.put("candles", [candle("AAPL", 0, "10 12 9 11")])
    pipeline.lake.put("coverage", [watermark("AAPL", 61)])
    bad = put_bad_objects(pipeline)
    for name, fault in {**faults(warehouse), **faults_of_snowflake(warehouse)}.items():
        pipeline.archive()
        fault(pipeline)
        load(settings)
        assert pipeline.in_raw() == pipeline.archived, name
        assert pipeline.not_loaded_once() == [], name
        assert extract(settings) == [], name

    assert build(settings).built
    silver = pipeline.in_silver()
    assert len(silver) == len(set(silver))
    assert set(silver) == pipeline.archived
    assert_quarantine(pipeline, bad)


def faults(warehouse: DrillWarehouse) -> dict[str, Fault]:
    return {
        **{f"killed, {name}": killed(step) for name, step in warehouse.steps.items()},
        "the lake is away": lake_is_away,
        "the warehouse is away": warehouse_is_away,
        "the ledger is behind the lake": ledger_is_behind,
        "the ledger is ahead of the lake": ledger_is_ahead,
        "overlapping objects": objects_repeated_with_other_bounds,
        "a recreated topic": topic_recreated,
        "an object without rows": object_without_rows,
        "two loads in parallel": two_loads,
        "the archive was down for 30 hours": backlog,
    }


def faults_of_snowflake(warehouse: DrillWarehouse) -> dict[str, Fault]:
    """Faults of a warehouse that is a server."""
    if not isinstance(warehouse, OnSnowflake):
        return {}
    return {
        "it restarts before commit": restarted(warehouse, BEFORE_COMMIT),
        "it restarts after commit": restarted(warehouse, AFTER_COMMIT),
        "another machine loads meanwhile": another_machine_loads,
    }


def killed(step: Step) -> Fault:
    def load_and_die(pipeline: Pipeline) -> None:
        died = subprocess.run(
            [sys.executable, "-m", "tests.drills.steps", *step],
            cwd=ROOT,
            env=child_environment(pipeline.settings),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert died.returncode == -9, died.stderr[-2000:]

    return load_and_die


def restarted(warehouse: OnSnowflake, step: Step) -> Fault:
    def restart_in_a_load(pipeline: Pipeline) -> None:
        done: list[None] = []
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, step, lambda: done.append(warehouse.restart()))
            load(pipeline.settings)
        assert len(done) == 1
        assert pipeline.in_raw() == pipeline.archived

    return restart_in_a_load


def another_machine_loads(pipeline: Pipeline) -> None:
    """It has not listed the newest object, and takes the number of this machine's load."""
    settings = pipeline.settings
    folder = settings.tickhouse_data_dir.with_name("other")
    other = settings.model_copy(update={"tickhouse_data_dir": folder})
    listed = extract(other)
    pipeline.archive()

    def load_there() -> None:
        assert load(other, listed).objects == 2

    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, Step("before", "begin"), load_there)
        with pytest.raises(WarehouseError, match="Another machine loaded"):
            load(settings)


def lake_is_away(pipeline: Pipeline) -> None:
    away = pipeline.settings.model_copy(update={"lake_endpoint_url": "http://127.0.0.1:1"})
    listings = [None, extract(pipeline.settings)] if pipeline.warehouse.downloads else [None]
    for listed in listings:
        with pytest.raises(LakeError, match="does not answer"):
            load(away, listed)


def warehouse_is_away(pipeline: Pipeline) -> None:
    error, message = pipeline.warehouse.unavailable
    with pipeline.warehouse.away(), pytest.raises(error, match=message):
        load(pipeline.settings)


def ledger_is_behind(pipeline: Pipeline) -> None:
    """The warehouse is restored from a copy older than what listing goes back."""
    load(pipeline.settings)
    pipeline.warehouse.save()
    for _ in range(2):
        pipeline.archive(RELISTED_KEYS)
        load(pipeline.settings)
    pipeline.warehouse.restore()


def ledger_is_ahead(pipeline: Pipeline) -> None:
    """A loaded object is gone from the lake; its rows stay."""
    key = pipeline.put(range(pipeline.next_offset(), pipeline.next_offset()))
    load(pipeline.settings)
    s3_client(pipeline.settings).delete_object(
        Bucket=pipeline.settings.lake_bucket, Key=pipeline.settings.lake_prefix + str(key)
    )


def objects_repeated_with_other_bounds(pipeline: Pipeline) -> None:
    """The archive repeats messages after a crash, with other bounds."""
    first = pipeline.next_offset()
    pipeline.next_offset()
    pipeline.put(range(first, first + 4))
    load(pipeline.settings)
    pipeline.put(range(first + 2, first + 6))


def topic_recreated(pipeline: Pipeline) -> None:
    """Offsets begin again."""
    pipeline.put(range(6), NEWER_INCARNATION)


def object_without_rows(pipeline: Pipeline) -> None:
    offset = pipeline.next_offset()
    key = ObjectKey("trades", STOCKS_INCARNATION, 0, offset, offset)
    pipeline.lake.put_table(key, DATASETS["trades"].empty_table())


def two_loads(pipeline: Pipeline) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(load, [pipeline.settings] * 2))


def backlog(pipeline: Pipeline) -> None:
    """30 hours of objects, of which a run lists some."""
    pipeline.archive(300)
    load(pipeline.settings, extract(pipeline.settings, limit=200))


def put_bad_objects(pipeline: Pipeline) -> dict[ObjectKey, str]:
    """Objects that are rejected, each with a part of the reason."""
    downloads = pipeline.warehouse.downloads
    unreadable = "not a readable Parquet file" if downloads else "COPY INTO cannot read it"
    lacking = "columns are missing: price" if downloads else "must not be null and are: price"
    table = pa.Table.from_pylist([trade("AAPL", 1, "10")], schema=DATASETS["trades"])
    written = io.BytesIO()
    pq.write_table(table, written)
    pages_lost = written.getvalue().replace(written.getvalue()[4:400], bytes(396), 1)
    folder = ("trades", STOCKS_INCARNATION, 1)
    reasons = {}
    for offset, (content, reason) in enumerate(
        [
            (b"", "not a readable Parquet file"),
            (b"PAR1 corrupt PAR1", unreadable),
            (pages_lost, unreadable),
            (table.drop_columns(["price"]), lacking),
            (table, "must not be null and are: _topic_id"),
        ]
    ):
        key = ObjectKey(*folder, offset, offset)
        put = pipeline.lake.put_bytes if isinstance(content, bytes) else pipeline.lake.put_table
        put(key, content)
        reasons[key] = reason
    return reasons


def assert_quarantine(pipeline: Pipeline, bad: dict[ObjectKey, str]) -> None:
    """Each bad object is there with its reason, and the command of each loads it once it can be."""
    rejected = "select object_key, reason, retry_command from RAW.REJECTED_OBJECTS"
    rows = pipeline.query(rejected)
    reasons = {key: reason for key, reason, _ in rows}
    assert len(rows) == len(bad)
    assert reasons.keys() == {str(key) for key in bad}
    for key, reason in bad.items():
        assert reason in reasons[str(key)]

    ((_, *command),) = {tuple(command.split()) for *_, command in rows}
    tried = "select min(load_id) from RAW.LOAD_LEDGER where status = 'rejected'"
    (before,) = pipeline.query(tried)
    repaired = next(iter(bad))
    pipeline.lake.put("trades", [trade("AAPL", 1, "10")], 1, first_offset=repaired.first_offset)
    retry = subprocess.run(
        [TICKHOUSE, *command],
        env=child_environment(pipeline.settings),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert retry.returncode == 0, retry.stdout + retry.stderr
    assert pipeline.query(tried) > [before]
    assert pipeline.not_loaded_once() == []
    assert {key for key, *_ in pipeline.query(rejected)} == reasons.keys() - {str(repaired)}
