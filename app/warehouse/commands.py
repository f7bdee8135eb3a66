"""Extract, load and build: the commands of the warehouse. Each holds the warehouse's lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from app.errors import TickhouseError
from app.folders import file_sentence
from app.lake import ObjectKey
from app.settings import Settings
from app.warehouse import published
from app.warehouse.backends import is_billed, open_warehouse, require_feed
from app.warehouse.interface import Build, LakeObject, RejectedObject, Warehouse
from app.warehouse.listing import (
    Listing,
    listing_of,
    listing_path,
    read_listing,
    write_listing,
)
from app.warehouse.loader import LoadResult, load_objects
from app.warehouse.lock import exclusive
from app.warehouse.objects import Lake
from app.warehouse.progress import (
    BuildProgress,
    LoadProgress,
    now_ms,
    read_progress,
    record_build,
    record_load,
)
from app.warehouse.published_basis import basis_of, clear_basis, record_basis
from app.warehouse.rebuild import (
    REBUILDING,
    ROWS_PER_PASS,
    START,
    Unfinished,
    passes,
    unfinished,
)
from app.warehouse.reports import BuildReport, LoadReport
from app.warehouse.retention import require_complete_raw
from app.warehouse.transform import (
    MIXED,
    DbtResult,
    Fingerprint,
    dbt_build,
    dbt_build_dates,
    dbt_test,
    fingerprint,
)

log = logging.getLogger("tickhouse.load")

CHECKED_REJECTED = 200
"""Number of rejected objects whose ETag a load requests."""


def extract(
    settings: Settings, limit: int | None = None, *, retry_rejected: bool = False
) -> list[tuple[str, str, int]]:
    """List the key, etag and size of the lake's objects to load.

    These are objects that are not in the warehouse's ledger yet, and rejected ones that were
    written again since, which their ETag shows.

    :param limit: the largest number of objects to list.
    :param retry_rejected: list all rejected objects that still exist.
    """
    listing = read_listing(listing_path(settings))
    if listing is None:
        with opened(settings, "listing loaded objects") as warehouse:
            listing = write_listing(listing_path(settings), listing_of(warehouse))
    found = _to_load(Lake(settings), listing, retry_rejected)[:limit]
    return [(str(item.key), item.etag, item.size) for item in found]


def load(
    settings: Settings,
    listed: Iterable[tuple[str, str, int]] | None = None,
    *,
    retry_rejected: bool = False,
) -> LoadReport:
    """Load new objects of the lake into RAW.

    :param listed: the objects that `extract` returned; by default `extract` is called. If there are
        none, and the last build has all loads, a warehouse whose use is billed is not opened.
    :param retry_rejected: load rejected objects again, changed or not.
    """
    started, now = time.monotonic(), datetime.now(UTC)
    found = extract(settings, retry_rejected=retry_rejected) if listed is None else listed
    objects = [LakeObject(ObjectKey.of(key), etag, size) for key, etag, size in found]
    with exclusive(settings.warehouse_path, "load"):
        listing = read_listing(listing_path(settings))
        is_idle = listed is not None and not objects and is_billed(settings)
        if is_idle and listing is not None and _is_built(settings, listing):
            record_load(settings, LoadProgress(listing.load_id, now_ms(), len(listing.rejected)))
            return LoadReport(0, {}, {}, listing.load_id, False, time.monotonic() - started)
        with _open(settings) as warehouse:
            done, listing = _load(
                settings, warehouse, objects, listing, now, retry_rejected=retry_rejected
            )
            last = warehouse.last_build()
        record_load(settings, LoadProgress(listing.load_id, now_ms(), len(listing.rejected)))
    due = is_build_due(listing.load_id, last, now, settings.warehouse_build_minutes)
    seconds = time.monotonic() - started
    return LoadReport(done.objects, done.rows, done.rejected, listing.load_id, due, seconds)


def _load(
    settings: Settings,
    warehouse: Warehouse,
    objects: list[LakeObject],
    listing: Listing | None,
    now: datetime,
    *,
    retry_rejected: bool,
) -> tuple[LoadResult, Listing]:
    """Load `objects`, and bring the file of the listing up to date."""
    path, lake = listing_path(settings), Lake(settings)
    before = warehouse.newest_load()
    if listing is not None and listing.load_id > before:
        log.warning(
            "The ledger ends with load %d, and load %d was listed before: the warehouse was "
            "restored from a copy or replaced. Listing the lake again.",
            *(before, listing.load_id),
        )
        listing = write_listing(path, listing_of(warehouse))
        objects = _to_load(lake, listing, retry_rejected)
    if objects:
        require_feed(warehouse, settings)
    done = load_objects(warehouse, lake, objects, now, retry_rejected=retry_rejected)
    newest = warehouse.newest_load()
    if listing is None or listing.load_id != before:
        listing = write_listing(path, listing_of(warehouse))
    elif newest != before:
        listing = write_listing(path, listing.after(newest, done.entries))
    return done, listing


def _is_built(settings: Settings, listing: Listing) -> bool:
    """Whether the last build has every load of `listing`, by the progress of both."""
    progress = read_progress(settings)
    if progress.load is None or progress.build is None:
        return False
    return progress.load.load_id == listing.load_id <= progress.build.load_id


def is_build_due(newest: int, last: Build | None, now: datetime, every_minutes: int) -> bool:
    """Whether a build is due at `now`: there are newer loads, and it is not too soon.

    :param every_minutes: hours are divided into parts of this length; one build starts in each.
    """
    if last is None:
        return newest > 0
    part_s = 60 * every_minutes
    return newest > last.load_id and (
        now.timestamp() // part_s > last.started_at.timestamp() // part_s
    )


def _to_load(lake: Lake, listing: Listing, retry_rejected: bool) -> list[LakeObject]:
    """The objects of the lake that are new to `listing`, and rejected ones to try again."""
    rejected = listing.rejected
    checked = rejected if retry_rejected else _due_for_check(rejected, time.time())
    known = set() if retry_rejected else {item.object for item in rejected}
    changed = [i for i in lake.current(r.object.key for r in checked) if i not in known]
    return [*changed, *lake.new_objects(listing.loaded)]


def _due_for_check(rejected: list[RejectedObject], now_s: float) -> list[RejectedObject]:
    """Up to `CHECKED_REJECTED` of the rejected objects, others each minute: one request each."""
    if len(rejected) <= CHECKED_REJECTED:
        return rejected
    first = int(now_s) // 60 * CHECKED_REJECTED % len(rejected)
    return (rejected[first:] + rejected[:first])[:CHECKED_REJECTED]


def build(
    settings: Settings,
    *,
    full_refresh: bool = False,
    rebuild: bool = False,
    rows_per_pass: int = ROWS_PER_PASS,
) -> BuildReport:
    """Build silver and gold up to the newest load, test them, and publish gold to its readers.

    Does nothing when the last build included the newest load and used the same dbt project.

    A rebuild that was interrupted is continued first. After a change of silver's SQL only new rows
    follow it, unless silver is rebuilt; until then, the report of every build has a sentence on it.

    An error of dbt or of publishing is recorded as a failed build with its reason; readers keep the
    gold of the last good build.

    :param full_refresh: rebuild every table from RAW.
    :param rebuild: likewise, in passes of some session dates each.
    :param rows_per_pass: rows of RAW that a pass may have.
    :raises BuildFailed: a model or a test failed.
    :raises WarehouseError: gold cannot be published.
    :raises RawExpired: RAW lacks rows that a full refresh or a rebuild needs.
    """
    started, began = time.monotonic(), datetime.now(UTC)
    rebuilt = _rebuild(settings, rebuild, rows_per_pass)
    with exclusive(settings.warehouse_path, "build") as lock:
        with _open(settings) as warehouse:
            newest, last = warehouse.newest_load(), warehouse.last_build()
            if full_refresh:
                require_complete_raw(warehouse, settings)
        project = fingerprint()
        built = Fingerprint.parse(last.project) if last else None
        full = full_refresh or rebuilt is not None
        outdated = built is not None and built.silver != project.silver and not full
        full = full or built is None or built.project != project.project
        if outdated:
            project = project._replace(silver=MIXED)
        if last and last.load_id >= newest and not full and published.current_path(settings):
            seconds = time.monotonic() - started
            return BuildReport(False, newest, False, 0, 0, None, seconds, outdated)
        basis = None if full else basis_of(settings, last)
        if full:
            clear_basis(settings)
        attempt = Build(newest, began, began, "built", str(project), "")
        with _failure_recorded(settings, attempt):
            done = dbt_build(
                settings,
                built_load=rebuilt if rebuilt is not None else last.load_id if last else 0,
                full=full,
                full_refresh=full_refresh,
                keep_open=(lock,),
            )
            detail = f"{done.models} models, {done.tests} tests"
            path = _publish(settings, attempt._replace(detail=detail), basis)
    seconds = time.monotonic() - started
    return BuildReport(True, newest, full, done.models, done.tests, path, seconds, outdated)


def _rebuild(settings: Settings, rebuild: bool, rows_per_pass: int) -> int | None:
    """Rebuild silver in passes, each under the lock of its own, so that loads go on between them.

    :param rebuild: begin a rebuild; otherwise only one that was interrupted is continued, from the
        start if the SQL or the seeds of silver have changed since.
    :returns: the newest load when it began, or None when there was nothing to do.
    """
    load_id, began = None, time.monotonic()
    while True:
        with exclusive(settings.warehouse_path, "rebuild") as lock:
            with _open(settings) as warehouse:
                found = unfinished(warehouse.builds_after_last())
                if found is None and (load_id is not None or not rebuild):
                    return load_id  # nothing to do, or another process has finished it
                project = fingerprint()
                if found is None or Fingerprint.parse(found.project).silver != project.silver:
                    require_complete_raw(warehouse, settings)
                    found = Unfinished(warehouse.newest_load(), str(project), None)
                    _record_pass(warehouse, found, START)
                dates = warehouse.session_dates()
            load_id = found.load_id
            todo = passes(dates, found.last, rows_per_pass)
            if not todo:
                return load_id
            clear_basis(settings)
            is_first = found.last is None
            dates_of_pass = todo[0].dates(is_first=is_first)
            now = datetime.now(UTC)
            with _failure_recorded(settings, Build(load_id, now, now, "built", str(project), "")):
                dbt_build_dates(settings, dates_of_pass, is_first=is_first, keep_open=(lock,))
            with _open(settings) as warehouse:
                _record_pass(warehouse, found, todo[0].last)
        left, total = sum(each.rows for each in todo[1:]), sum(rows for _, rows in dates)
        log.info(
            "Rebuilt %s to %s; %.0f %% of %d rows are done after %.0f s, %d passes are left.",
            *(todo[0].first, todo[0].last, 100 * (total - left) / total, total),
            *(time.monotonic() - began, len(todo) - 1),
        )


def _record_pass(warehouse: Warehouse, rebuild: Unfinished, done: str) -> None:
    now = datetime.now(UTC)
    warehouse.record_build(Build(rebuild.load_id, now, now, REBUILDING, rebuild.project, done))


def data_tests(settings: Settings) -> DbtResult:
    """Run all data tests on all rows.

    :raises BuildFailed: a test failed; the message names each with its reason.
    """
    with exclusive(settings.warehouse_path, "data tests") as lock:
        return dbt_test(settings, keep_open=(lock,))


def run(
    settings: Settings,
    *,
    load_only: bool = False,
    full_refresh: bool = False,
    retry_rejected: bool = False,
    rebuild: bool = False,
) -> None:
    """Run `tickhouse load`: load, build unless `load_only`, and print a report."""
    loaded = load(settings, retry_rejected=retry_rejected)
    built = None if load_only else build(settings, full_refresh=full_refresh, rebuild=rebuild)
    show(loaded, built, Console())


def show(loaded: LoadReport, built: BuildReport | None, console: Console) -> None:
    """Print the reports of a load and a build."""
    for sentence in (*loaded.sentences(), *(built.sentences() if built else ())):
        style = "red" if sentence.startswith("Rejected") else None
        console.print(sentence, style=style, highlight=False, markup=False)


@contextmanager
def opened(settings: Settings, purpose: str) -> Iterator[Warehouse]:
    """Open the warehouse while holding its lock for `purpose`, and close it at the end."""
    with exclusive(settings.warehouse_path, purpose), _open(settings) as warehouse:
        yield warehouse


@contextmanager
def _open(settings: Settings) -> Iterator[Warehouse]:
    warehouse = open_warehouse(settings)
    try:
        yield warehouse
    finally:
        warehouse.close()


def _publish(settings: Settings, attempt: Build, basis: published.Basis | None) -> Path:
    """Publish the gold that `attempt` built, and record its end; return the new file."""
    path = published.next_path(settings)
    with _open(settings) as warehouse:
        is_update = warehouse.publish(path, basis)
        published.point_to(path)
        built = attempt._replace(finished_at=datetime.now(UTC))
        warehouse.record_build(built)
    record_basis(settings, path, built, is_update=is_update)
    is_mixed = Fingerprint.parse(built.project).silver == MIXED
    record_build(settings, BuildProgress(built.load_id, now_ms(), outdated=is_mixed))
    return path


@contextmanager
def _failure_recorded(settings: Settings, attempt: Build) -> Iterator[None]:
    """Record `attempt` as failed, in the ledger and for `tickhouse status`, if the block raises."""
    try:
        yield
    except Exception as error:
        _record_failure(settings, attempt, _sentence(error))
        raise


def _record_failure(settings: Settings, attempt: Build, detail: str) -> None:
    def in_progress() -> None:
        record_build(settings, BuildProgress(attempt.load_id, now_ms(), detail))

    def in_ledger() -> None:
        now = datetime.now(UTC)
        with _open(settings) as warehouse:
            warehouse.record_build(
                attempt._replace(finished_at=now, status="failed", detail=detail)
            )

    for record in (in_progress, in_ledger):
        try:
            record()
        except Exception as error:  # often for the same reason, such as a full disk
            log.error("The failed build could not be recorded: %s", _sentence(error))


def _sentence(error: Exception) -> str:
    text = (file_sentence(error) if isinstance(error, OSError) else None) or str(error)
    if not isinstance(error, TickhouseError | OSError):
        text = f"{type(error).__name__}: {text}"
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
