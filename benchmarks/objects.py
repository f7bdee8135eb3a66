"""Measure the cost of a minute's load with many objects in lake and ledger.

The S3 server is the project's own. Objects that are already in the ledger have no content, because
nothing reads them; those of the measured minutes have rows. Each minute is loaded by a separate
process; its imports are not measured. Snowflake is the tests' stand-in, in another process that is
not measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from app.embedded.environment import child_environment
from app.embedded.s3 import S3Server
from app.lake import DATASETS, ObjectKey, s3_client
from app.settings import Settings
from app.warehouse import snowflake_setup
from app.warehouse.backends import open_warehouse
from app.warehouse.interface import FetchedObject, LakeObject
from benchmarks._report import report, spread
from tests.integration.warehouse.lake_writer import INCARNATIONS, LakeWriter, trade
from tests.snowflake_local.process import LocalSnowflake
from tests.support import settings_on

DEFAULTS = {"objects": 100_000, "partitions": 4, "minutes": 5}
FEW = 1_000
"""The same load with this number of objects shows the cost of the others."""
ROWS = 50
LEDGER_BATCH = 1_000
STAGES = {"DuckDB": None, "Snowflake, internal": "internal", "Snowflake, external": "external"}
"""The warehouses, each with the stage of Snowflake."""

PROSE = """
A minute brings {new} objects of {rows} trades. There are {folders} folders, one per partition of
each topic.

- *CPU* and *memory* are those of the loading process, without its imports and, for Snowflake,
  without the stand-in that executes the statements.
- *list requests*: one for each folder that has objects, and {more} that find the folders.
- *statements*: those that the connector executes.
"""


def folders(partitions: int) -> list[tuple[str, str, int]]:
    return [(d, INCARNATIONS[d], p) for d in DATASETS for p in range(partitions)]


def fill(settings: Settings, objects: int, partitions: int) -> list[LakeObject]:
    """Write objects into the lake, the same number in each folder."""
    keys = [
        ObjectKey(*folder, 10 * number, 10 * number + 9)
        for folder in folders(partitions)
        for number in range(objects // len(folders(partitions)))
    ]
    client, prefix = s3_client(settings), settings.lake_prefix

    def put(key: ObjectKey) -> LakeObject:
        done = client.put_object(Bucket=settings.lake_bucket, Key=prefix + str(key), Body=b"-")
        return LakeObject(key, done["ETag"].strip('"'), 1)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(put, keys))


def record(settings: Settings, objects: list[LakeObject]) -> None:
    """Write the objects into the ledger, as loads of objects without rows."""
    warehouse = open_warehouse(settings)
    for start in range(0, len(objects), LEDGER_BATCH):
        part = objects[start : start + LEDGER_BATCH]
        batch = [FetchedObject(item, DATASETS[item.key.dataset].empty_table()) for item in part]
        warehouse.load(batch, datetime.now(UTC))
    warehouse.close()


def copy_ledger(source: Settings, target: Settings) -> None:
    """Copy the ledger of one Snowflake database to another."""
    warehouse = open_warehouse(source)
    ledgers = [f"{each.warehouse_database}.RAW.LOAD_LEDGER" for each in (target, source)]
    warehouse.query("insert into {} select * from {}".format(*ledgers))
    warehouse.close()


def write_minute(settings: Settings, first_offset: int, partitions: int) -> None:
    """Write an object with rows into each folder of trades."""
    lake = LakeWriter(settings)
    rows = [trade("AAPL", second, "10") for second in range(ROWS)]
    for partition in range(partitions):
        lake.put("trades", rows, partition, first_offset=first_offset)


def measured(settings: Settings) -> dict[str, float]:
    """Load in a separate process; return its cost."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks._load"],
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def warehouses(folder: Path, s3: S3Server, lake: Settings) -> Iterator[dict[str, Settings]]:
    """Yield settings of every warehouse, each empty, over the lake of `lake`."""
    with LocalSnowflake.beside(s3, folder / "snowflake") as server:
        found = {}
        for number, (name, stage) in enumerate(STAGES.items()):
            own = lake.model_copy(update={"tickhouse_data_dir": folder / f"data-{number}"})
            if stage is not None:
                own = server.as_warehouse(
                    own,
                    snowflake_database=f"{stage.upper()}_{lake.tickhouse_namespace[2:].upper()}",
                    snowflake_stage=stage,
                    snowflake_storage_role_arn="arn:aws:iam::123456789012:role/lake",
                )
                snowflake_setup.init(own, dry_run=False)
            found[name] = own
        yield found


def costs(s3: S3Server, folder: Path, given: Any, objects: int) -> dict[str, list[dict[str, Any]]]:
    """Return the cost of each minute's load, by warehouse, with `objects` in lake and ledger."""
    lake = settings_on(s3, folder)
    known = fill(lake, objects, given.partitions)
    print(f"{len(known)} objects are in the lake", file=sys.stderr)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
    with warehouses(folder, s3, lake) as settings:
        in_duckdb, internal, external = settings.values()
        record(in_duckdb, known)
        record(internal, known)
        copy_ledger(internal, external)
        offsets = itertools.count(10 * objects, ROWS)
        for minute, offset in enumerate(itertools.islice(offsets, given.minutes + 1)):
            write_minute(lake, offset, given.partitions)
            for name, own in settings.items():
                cost = measured(own)
                print(f"{objects} objects, {name}, minute {minute}: {cost}", file=sys.stderr)
                found[name] += [cost] if minute else []  # the first one lists the ledger
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in DEFAULTS.items():
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, S3Server(Path(name) / "s3") as s3:
        found = {
            objects: costs(s3, Path(name) / str(objects), given, objects)
            for objects in (FEW, given.objects)
        }
    show(found, given)


def show(found: dict[int, dict[str, list[dict[str, Any]]]], given: Any) -> None:
    """Report the costs, by number of objects and by warehouse."""
    rows = []
    for objects, by_warehouse in found.items():
        for warehouse, minutes in by_warehouse.items():
            last = minutes[-1]
            rows.append(
                [
                    warehouse,
                    f"{objects:,}",
                    f"{median(cost['cpu_s'] for cost in minutes):.2f}",
                    f"{max(cost['memory_mb'] for cost in minutes):.0f}",
                    f"{last['list_requests']}",
                    f"{last['get_requests']}",
                    f"{last['statements']}" if STAGES[warehouse] else "",
                ]
            )
    count = len(folders(given.partitions))
    report(
        "objects",
        "A minute's load with many objects in lake and ledger",
        [
            "warehouse",
            "objects",
            "CPU, s",
            "memory, MB",
            "list requests",
            "GET requests",
            "statements",
        ],
        rows,
        {
            str(objects): {
                warehouse: {"cpu_s": spread([cost["cpu_s"] for cost in minutes]), "runs": minutes}
                for warehouse, minutes in by_warehouse.items()
            }
            for objects, by_warehouse in found.items()
        },
        PROSE.format(
            new=given.partitions, rows=ROWS, folders=count, more=2 * len(DATASETS)
        ).strip(),
        keep=given.keep or all(getattr(given, name) == value for name, value in DEFAULTS.items()),
    )


if __name__ == "__main__":
    main()
