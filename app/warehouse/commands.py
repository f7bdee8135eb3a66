"""Extract, load and build: the commands of the warehouse. Each holds the warehouse's lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from app.lake import ObjectKey
from app.settings import Settings
from app.warehouse import published
from app.warehouse.backends import open_warehouse
from app.warehouse.interface import Build, LakeObject, Warehouse
from app.warehouse.loader import load_objects
from app.warehouse.lock import exclusive
from app.warehouse.objects import Lake
from app.warehouse.transform import BuildFailed, DbtResult, dbt_build, fingerprint

log = logging.getLogger("tickhouse.build")


class LoadReport(NamedTuple):
    """Result of a load, and whether a build is due after it."""

    objects: int
    rows: dict[str, int]
    rejected: dict[str, str]
    load_id: int
    build_due: bool
    seconds: float


class BuildReport(NamedTuple):
    """Result of a build; `built` is false when none was due."""

    built: bool
    load_id: int
    full: bool
    models: int
    tests: int
    published: Path | None
    seconds: float


def extract(settings: Settings, limit: int | None = None) -> list[tuple[str, str, int]]:
    """List the key, etag and size of the lake's objects that are not in the warehouse yet.

    :param limit: the largest number of objects to list.
    """
    with _warehouse(settings, "listing loaded objects") as warehouse:
        loaded = warehouse.loaded_keys()
    return [
        (str(item.key), item.etag, item.size) for item in Lake(settings).new_objects(loaded)[:limit]
    ]


def load(settings: Settings, listed: Iterable[tuple[str, str, int]] | None = None) -> LoadReport:
    """Load new objects of the lake into RAW.

    :param listed: the objects that `extract` returned; by default `extract` is called.
    """
    started = time.monotonic()
    objects = [_lake_object(*item) for item in (extract(settings) if listed is None else listed)]
    with _warehouse(settings, "load") as warehouse:
        done = load_objects(warehouse, Lake(settings), objects, datetime.now(UTC))
        newest, last = warehouse.newest_load(), warehouse.last_build()
    due = newest > (last.load_id if last else 0)
    return LoadReport(*done, newest, due, time.monotonic() - started)


def build(settings: Settings, *, full_refresh: bool = False) -> BuildReport:
    """Build silver and gold up to the newest load, test them, and publish gold to its readers.

    Does nothing when the last build included the newest load and used the same dbt project.

    :param full_refresh: rebuild every table from RAW.
    :raises BuildFailed: a model or a test failed; readers keep the gold of the last good build.
    """
    started, began = time.monotonic(), datetime.now(UTC)
    with exclusive(settings.warehouse_path, "build") as lock:
        with _open(settings) as warehouse:
            newest, last = warehouse.newest_load(), warehouse.last_build()
        project = fingerprint()
        full = full_refresh or last is None or last.project != project
        if last and last.load_id >= newest and not full and published.current_path(settings):
            seconds = time.monotonic() - started
            return BuildReport(False, newest, False, 0, 0, None, seconds)
        try:
            done = dbt_build(settings, full=full, full_refresh=full_refresh, keep_open=(lock,))
        except BuildFailed as failure:
            _record_failure(settings, newest, began, "failed", project, str(failure))
            raise
        path = _publish(settings, newest, began, project, done)
    return BuildReport(
        True, newest, full, done.models, done.tests, path, time.monotonic() - started
    )


_build = build


def run(settings: Settings, build: bool, full_refresh: bool = False) -> None:
    """Run `tickhouse load`: load, build if `build` is set, and print a report."""
    loaded = load(settings)
    built = _build(settings, full_refresh=full_refresh) if build else None
    show(loaded, built, Console())


def show(loaded: LoadReport, built: BuildReport | None, console: Console) -> None:
    """Print the reports of a load and a build."""
    table = Table("dataset", "new rows", title=f"{loaded.objects} new objects")
    table.columns[1].justify = "right"
    for dataset, rows in sorted(loaded.rows.items()):
        table.add_row(dataset, f"{rows:,}")
    if loaded.rows:
        console.print(table)
    console.print(
        f"loaded {sum(loaded.rows.values()):,} rows of {loaded.objects} new objects in "
        f"{loaded.seconds:.1f} s; newest load {loaded.load_id}"
    )
    for key, reason in loaded.rejected.items():
        console.print(f"rejected {key}: {reason}", style="red")
    if built is None:
        return
    if built.built:
        kind = "all models" if built.full else "changes"
        console.print(
            f"built {kind} up to load {built.load_id}: {built.models} models, {built.tests} tests, "
            f"{built.seconds:.1f} s; readers open {built.published}"
        )
    else:
        console.print(f"nothing to build: gold has load {built.load_id}")


@contextmanager
def _warehouse(settings: Settings, purpose: str) -> Iterator[Warehouse]:
    with exclusive(settings.warehouse_path, purpose), _open(settings) as warehouse:
        yield warehouse


@contextmanager
def _open(settings: Settings) -> Iterator[Warehouse]:
    warehouse = open_warehouse(settings)
    try:
        yield warehouse
    finally:
        warehouse.close()


def _lake_object(name: str, etag: str, size: int) -> LakeObject:
    key = ObjectKey.parse(name)
    if key is None:
        raise ValueError(f"{name!r} is not the name of an object of the lake")
    return LakeObject(key, etag, size)


def _publish(
    settings: Settings, load_id: int, began: datetime, project: str, done: DbtResult
) -> Path:
    path = published.next_path(settings)
    with _open(settings) as warehouse:
        warehouse.publish(path)
        published.point_to(path)
        detail = f"{done.models} models, {done.tests} tests"
        warehouse.record_build(Build(load_id, began, datetime.now(UTC), "built", project, detail))
    return path


def _record_failure(
    settings: Settings, load_id: int, began: datetime, status: str, project: str, detail: str
) -> None:
    with _open(settings) as warehouse:
        warehouse.record_build(Build(load_id, began, datetime.now(UTC), status, project, detail))
