"""Read the lake for the loader: list new objects, and fetch and check their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from app.lake import (
    ADDED,
    DATASETS,
    RENAMED,
    ROW_IDENTITY,
    ObjectKey,
    list_folders,
    list_objects,
    s3_client,
)
from app.lake_errors import S3_ERRORS, LakeError, explain, status_of
from app.settings import Settings
from app.warehouse.interface import FetchedObject, LakeObject, PartitionFolder

log = logging.getLogger("tickhouse.load")

THREADS = 8
REQUIRED: dict[str, tuple[str, ...]] = {
    "trades": ("symbol", "feed", "trade_time", "price", "size", "notional", "session_date"),
    "quotes": ("symbol", "feed", "quote_time", "current_price", "session_date"),
    "coverage": ("symbol", "feed", "source", "watermark"),
    "candles": ("symbol", "feed", "candle_interval", "window_start", "session_date", "trade_count"),
    "rejected": ("stage", "reason"),
}
"""Columns that silver needs in every row; an object with a null in one of them is rejected."""


class Lake:
    """This namespace's part of the bucket, read-only.

    :raises LakeError: from any method, when the lake does not answer or denies access.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = s3_client(settings)
        self._prefix = settings.lake_prefix

    def new_objects(self, loaded: dict[PartitionFolder, list[str]]) -> list[LakeObject]:
        """List objects that are not among `loaded`, by folder and in order of their names.

        Each folder is listed from the first of its keys in `loaded`, so the cost of a listing
        depends on the number of new objects, not of all objects.
        """
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                folders = sorted(self._folders(pool))
                found = pool.map(lambda f: list(self._after(f, loaded.get(f, []))), folders)
                return [item for items in found for item in items]
        except S3_ERRORS as error:
            raise LakeError(explain(self._settings, error)) from None

    def current(self, keys: Iterable[ObjectKey]) -> list[LakeObject]:
        """Request the ETag and size that objects have now; those that do not exist are left out."""
        with ThreadPoolExecutor(THREADS) as pool:
            return [item for item in pool.map(self._head, keys) if item is not None]

    def fetch(self, objects: Iterable[LakeObject]) -> Iterator[FetchedObject]:
        """Yield the objects with their rows, in order; some are fetched ahead."""
        items = list(objects)
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(items), THREADS):
                for fetched in pool.map(self._fetch, items[start : start + THREADS]):
                    if fetched is not None:
                        yield fetched

    def _folders(self, pool: ThreadPoolExecutor) -> Iterator[PartitionFolder]:
        def below(prefix: str) -> list[str]:
            return list(list_folders(self._client, self._settings, prefix))

        datasets = [f"bronze/{dataset}/" for dataset in DATASETS]
        incarnations = [incarnation for names in pool.map(below, datasets) for incarnation in names]
        for names in pool.map(below, incarnations):
            for name in names:
                _, dataset, incarnation, partition, _ = name.split("/")
                if partition.isdecimal():
                    yield PartitionFolder(dataset, incarnation, int(partition))

    def _after(self, folder: PartitionFolder, loaded: list[str]) -> Iterator[LakeObject]:
        prefix = f"bronze/{folder.dataset}/{folder.incarnation}/{folder.partition:05d}/"
        known = set(loaded)
        first = loaded[0] if loaded else ""
        for listed in list_objects(self._client, self._settings, prefix, first):
            key = ObjectKey.parse(listed.name)
            if key is None or str(key) != listed.name:
                log.warning(
                    "%s is not the name of an object of the lake; it is ignored", listed.name
                )
            elif listed.name not in known:
                yield LakeObject(key, listed.etag, listed.size)

    def _head(self, key: ObjectKey) -> LakeObject | None:
        try:
            found = self._client.head_object(
                Bucket=self._settings.lake_bucket, Key=self._prefix + str(key)
            )
        except ClientError as error:
            if status_of(error) == 404:
                return None
            raise LakeError(explain(self._settings, error)) from None
        except BotoCoreError as error:
            raise LakeError(explain(self._settings, error)) from None
        return LakeObject(key, found["ETag"].strip('"'), found["ContentLength"])

    def _fetch(self, item: LakeObject) -> FetchedObject | None:
        try:
            body = self._client.get_object(
                Bucket=self._settings.lake_bucket, Key=self._prefix + str(item.key)
            )["Body"].read()
        except self._client.exceptions.NoSuchKey:
            log.warning("%s was listed but no longer exists; the next load lists again", item.key)
            return None
        except S3_ERRORS as error:
            raise LakeError(explain(self._settings, error)) from None
        return read_object(item, body)


def read_object(item: LakeObject, body: bytes) -> FetchedObject:
    """Read the rows of a Parquet file, or the reason it is rejected for."""
    dataset = item.key.dataset
    try:
        file = pq.ParquetFile(BytesIO(body))
        reason = schema_reason(file.schema_arrow, _as_written(file.schema_arrow, dataset))
        rows = _with_all_columns(file.read(), dataset) if reason is None else None
    except (pa.ArrowException, OSError) as error:
        return FetchedObject(item, None, f"it is not a readable Parquet file: {_reason(error)}")
    if rows is not None:
        reason = null_reason(rows, dataset)
    return FetchedObject(item, None if reason else rows, reason)


def _as_written(found: pa.Schema, dataset: str) -> pa.Schema:
    """The dataset's schema as an older object may have it: some columns absent or renamed."""
    absent = {name for name in ADDED.get(dataset, ()) if name not in found.names}
    earlier = {new: old for old, new in RENAMED.get(dataset, {}).items() if old in found.names}
    return pa.schema(
        [
            field.with_name(earlier.get(field.name, field.name))
            for field in DATASETS[dataset]
            if field.name not in absent
        ]
    )


def _with_all_columns(rows: pa.Table, dataset: str) -> pa.Table:
    """Return `rows` with all columns of the dataset by their names; absent ones are null."""
    renamed = RENAMED.get(dataset, {})
    rows = rows.rename_columns([renamed.get(name, name) for name in rows.column_names])
    for field in DATASETS[dataset]:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(DATASETS[dataset].names)


def schema_reason(found: pa.Schema, wanted: pa.Schema) -> str | None:
    """Describe how `found` differs from `wanted`, as part of a sentence; None if it does not."""
    if found.equals(wanted, check_metadata=False):
        return None
    missing = [name for name in wanted.names if name not in found.names]
    unknown = [name for name in found.names if name not in wanted.names]
    other = [
        f"{name} is {found.field(name).type} instead of {wanted.field(name).type}"
        for name in wanted.names
        if name in found.names and found.field(name).type != wanted.field(name).type
    ]
    parts = [
        f"columns are missing: {', '.join(missing)}" if missing else "",
        f"columns are not known: {', '.join(unknown)}" if unknown else "",
        "; ".join(other),
    ]
    return "; ".join(part for part in parts if part) or "its columns are in another order"


def null_reason(rows: pa.Table, dataset: str) -> str | None:
    """Name the required columns that contain nulls, as part of a sentence; None if none does."""
    return nulls_reason(n for n in required_columns(dataset) if rows.column(n).null_count)


def required_columns(dataset: str) -> tuple[str, ...]:
    """The columns that have a value in every row."""
    return (*REQUIRED[dataset], *ROW_IDENTITY, "_incarnation")


def nulls_reason(empty: Iterable[str]) -> str | None:
    """A part of a sentence on required columns with nulls; None if there are none."""
    names = ", ".join(empty)
    return f"columns must not be null and are: {names}" if names else None


def _reason(error: Any) -> str:
    line = str(error).splitlines()[0].strip() if str(error) else type(error).__name__
    return line if line.endswith(".") else f"{line}."
