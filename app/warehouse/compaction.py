"""Compact the lake: write the rows of each hour of event time into one object under `hourly/`.

`bronze/` stays as it is. Which objects have rows of an hour is known from RAW, so an hour is
compacted from objects that are loaded. A later object with rows of an hour that is compacted
already, or a source whose ETag changed, makes its object anew.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from app.lake import DATASETS, EVENT_TIME, ROW_IDENTITY, s3_client
from app.lake_errors import S3_ERRORS, LakeError, explain, status_of
from app.settings import Settings
from app.warehouse.hourly import HOUR, SOURCES, digest_of, hour_key, is_missing, sources_of
from app.warehouse.interface import Warehouse
from app.warehouse.raw import table_of
from app.warehouse.sql import text_literal, timestamp_literal

log = logging.getLogger("tickhouse.maintenance")

CLOSED_AFTER = timedelta(hours=1)
"""From the end of an hour until it is compacted; what comes later makes its object anew."""
BATCH_ROWS = 100_000
MEMORY_LIMIT = "512MB"
THREADS = 8
NAMED_OBJECTS = 5
"""Number of changed objects that a report names; the log has all of them."""


class Hour(NamedTuple):
    """An hour of a dataset to compact, and the ETag of each loaded object with rows of it."""

    dataset: str
    start: datetime
    sources: dict[str, str]


class CompactionReport(NamedTuple):
    """Number of hours written and left as they were, and of rows written."""

    written: int
    unchanged: int
    rows: int
    incomplete: int = 0
    """number of hours that lack an object of `changed`, and were not compacted"""
    changed: tuple[str, ...] = ()
    """keys of objects that are not as they were loaded"""

    def sentence(self, day: date | None = None) -> str:
        """The report in a sentence.

        :param day: the only UTC day whose hours were to be compacted.
        """
        if day and not self.written + self.unchanged + self.incomplete:
            return (
                f"Compacted nothing: RAW has no complete hour of {day}. Its rows were deleted "
                "after RETENTION_RAW_DAYS, none were loaded, or its hours have not ended."
            )
        compacted = (
            f"Compacted {self.written:,} hours with {self.rows:,} rows; {self.unchanged:,} hours "
            "were up to date."
        )
        if not self.incomplete:
            return compacted
        more = ", …" if len(self.changed) > NAMED_OBJECTS else ""
        return (
            f"{compacted} {self.incomplete:,} hours were not compacted, as {len(self.changed):,} "
            "of their objects have changed since they were loaded, or no longer exist: "
            f"{', '.join(self.changed[:NAMED_OBJECTS])}{more}. RAW and silver have the rows that "
            "they had then. Restore these objects, or load all objects as they are now into a new "
            "warehouse."
        )


def loaded_hours(warehouse: Warehouse, now: datetime, day: date | None = None) -> list[Hour]:
    """The hours that ended `CLOSED_AFTER` before `now` and have rows in RAW.

    :param day: only the hours of this UTC day.
    """
    hours = []
    until = (now - CLOSED_AFTER).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for dataset, column in EVENT_TIME.items():
        rows = warehouse.query(
            f"select date_trunc('hour', {column}), object_key, etag from {table_of(dataset)} "
            "join RAW.LOAD_LEDGER on object_key = _object "
            f"where {column} < {timestamp_literal(until)}{_of_day(column, day)} group by 1, 2, 3"
        )
        found: dict[datetime, dict[str, str]] = defaultdict(dict)
        for hour, key, etag in rows:
            found[hour.replace(tzinfo=UTC)][key] = etag
        hours += [
            Hour(dataset, start, dict(sorted(found[start].items()))) for start in sorted(found)
        ]
    return hours


def compact(settings: Settings, hours: list[Hour]) -> CompactionReport:
    """Write the object of each of `hours` unless it is up to date.

    :raises LakeError: the lake does not answer or denies access.
    """
    compaction = Compaction(settings)
    written = rows = incomplete = 0
    changed = set[str]()
    for hour in hours:
        try:
            count = compaction.write(hour)
        except SourcesChanged as error:
            changed.update(error.keys)
            incomplete += 1
            continue
        written += count is not None
        rows += count or 0
    unchanged = len(hours) - written - incomplete
    return CompactionReport(written, unchanged, rows, incomplete, tuple(sorted(changed)))


class SourcesChanged(Exception):
    """Objects of an hour have changed since they were loaded, or no longer exist."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(*keys)
        self.keys = keys


class Compaction:
    """Writes hours of the lake. Objects are merged by DuckDB, which uses temporary files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = s3_client(settings)

    def write(self, hour: Hour) -> int | None:
        """Write an hour's object; return the number of its rows, None if it was up to date.

        :raises SourcesChanged: an object with rows of the hour is not as it was loaded.
        """
        self._settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._settings.home, prefix="compaction-") as name:
            try:
                return self._write(hour, Path(name))
            except S3_ERRORS as error:
                raise LakeError(explain(self._settings, error)) from None

    def _write(self, hour: Hour, folder: Path) -> int | None:
        key = hour_key(hour.dataset, hour.start)
        if self._digest(key) == digest_of(hour.sources):
            return None
        present = folder / "present.parquet"
        named = self._download_present(key, present)
        sources = named | hour.sources  # RAW does not keep the oldest ones
        if sources == named:
            return None
        repaired = any(sources[k] != etag for k, etag in named.items())
        wanted = sources if repaired else {k: e for k, e in sources.items() if k not in named}
        files = self._download(wanted, folder)
        if named and not repaired:
            files.append(present)
        target = folder / "hour.parquet"
        rows = _merge(hour, files, target, sources)
        with target.open("rb") as body:
            self._client.put_object(
                Bucket=self._settings.lake_bucket,
                Key=self._settings.lake_prefix + key,
                Body=body,
                Metadata={"sources-sha256": digest_of(sources)},
            )
        return rows

    def _digest(self, key: str) -> str | None:
        try:
            found = self._client.head_object(
                Bucket=self._settings.lake_bucket, Key=self._settings.lake_prefix + key
            )
        except S3_ERRORS as error:
            if is_missing(error):
                return None
            raise
        digest: str | None = found["Metadata"].get("sources-sha256")
        return digest

    def _download_present(self, key: str, path: Path) -> dict[str, str]:
        """Download the hour's object if it exists; return the sources it names."""
        try:
            found = self._client.get_object(
                Bucket=self._settings.lake_bucket, Key=self._settings.lake_prefix + key
            )
        except self._client.exceptions.NoSuchKey:
            return {}
        path.write_bytes(found["Body"].read())
        return sources_of(pq.read_schema(path))

    def _download(self, sources: Mapping[str, str], folder: Path) -> list[Path]:
        """Download source objects.

        :raises SourcesChanged: some are not as they were loaded; each is logged.
        """

        def fetch(number: int, key: str, etag: str) -> Path | None:
            try:
                found = self._client.get_object(
                    Bucket=self._settings.lake_bucket,
                    Key=self._settings.lake_prefix + key,
                    IfMatch=f'"{etag}"',
                )
            except S3_ERRORS as error:
                if not is_missing(error) and status_of(error) != 412:  # type: ignore[arg-type]
                    raise
                log.warning(
                    "%s is not as it was loaded, or no longer exists; its hours are not compacted.",
                    key,
                )
                return None
            path = folder / f"{number:06d}.parquet"
            path.write_bytes(found["Body"].read())
            return path

        with ThreadPoolExecutor(THREADS) as pool:
            arguments = zip(range(len(sources)), sources.keys(), sources.values(), strict=True)
            fetched = list(pool.map(lambda given: fetch(*given), arguments))
        changed = [key for key, path in zip(sources, fetched, strict=True) if path is None]
        if changed:
            raise SourcesChanged(changed)
        return [path for path in fetched if path is not None]


def _merge(hour: Hour, files: list[Path], target: Path, sources: Mapping[str, str]) -> int:
    """Write the hour's rows of `files` to `target`, each once; return their number."""
    schema = DATASETS[hour.dataset].with_metadata({SOURCES: json.dumps(dict(sources)).encode()})
    count = 0
    with pq.ParquetWriter(target, schema, version="2.6", compression="zstd") as writer:
        for batch in _merged(hour, files, target.parent):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
            count += batch.num_rows
    return count


def _merged(hour: Hour, files: list[Path], folder: Path) -> Iterator[pa.RecordBatch]:
    column = EVENT_TIME[hour.dataset]
    schema = DATASETS[hour.dataset]
    order = [name for name in ("symbol", column, *ROW_IDENTITY) if name in schema.names]
    names = ", ".join(f'"{name}"' for name in schema.names)
    listed = ", ".join(text_literal(str(path)) for path in files)
    config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spill")}
    with duckdb.connect(config=config) as db:
        template = folder / "schema.parquet"  # with the columns that older objects lack
        pq.write_table(schema.empty_table(), template)
        result = db.sql(
            f"select {names} from read_parquet([{text_literal(str(template))}, {listed}], "
            "union_by_name => true) "
            f"where {column} >= {timestamp_literal(hour.start)} and {column} < "
            f"{timestamp_literal(hour.start + HOUR)} "
            f"qualify row_number() over (partition by {', '.join(ROW_IDENTITY)}) = 1 "
            f"order by {', '.join(order)}"
        )
        reader = result.to_arrow_reader(BATCH_ROWS)
        assert reader is not None
        yield from reader


def _of_day(column: str, day: date | None) -> str:
    if day is None:
        return ""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    first, end = timestamp_literal(start), timestamp_literal(start + 24 * HOUR)
    return f" and {column} >= {first} and {column} < {end}"
