"""Delete what is older than its retention: rows of RAW, silver's trades, objects of `bronze/`.

Candles, in silver and gold, are kept for ever. RAW keeps rejections, which silver compares its
trades with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import TickhouseError
from app.lake import DATASETS, EVENT_TIME, ObjectKey, list_objects, s3_client
from app.lake_errors import S3_ERRORS, LakeError, explain
from app.settings import Settings
from app.warehouse.backends import another_warehouse
from app.warehouse.hourly import hour_key, sources_of
from app.warehouse.interface import Warehouse
from app.warehouse.raw import table_of
from app.warehouse.rebuild import unfinished
from app.warehouse.sql import timestamp_literal

log = logging.getLogger("tickhouse.maintenance")

EXPIRING = tuple(dataset for dataset in DATASETS if dataset != "rejected")


class RawExpired(TickhouseError):
    """RAW no longer has the rows that a rebuild from RAW needs."""


def expire_raw(warehouse: Warehouse, settings: Settings, now: datetime) -> int:
    """Delete rows of RAW that were loaded more than RETENTION_RAW_DAYS ago and are in silver.

    Returns the number of the newest load whose rows are deleted; 0 for none. The ledger keeps its
    rows, so that no object is loaded again. While a rebuild of silver is unfinished nothing is
    deleted: it has yet to read RAW.
    """
    built = warehouse.last_build()
    if settings.retention_raw_days == 0 or built is None:
        return 0
    if unfinished(warehouse.builds_after_last()):
        log.info(
            "A rebuild of silver is unfinished; RAW keeps all rows until a build has ended it."
        )
        return 0
    before = now - timedelta(days=settings.retention_raw_days)
    ((found,),) = warehouse.query(
        "select coalesce(max(load_id), 0) from RAW.LOAD_LEDGER "
        f"where loaded_at < {timestamp_literal(before)} and load_id <= {built.load_id}"
    )
    newest = int(found)
    for dataset in EXPIRING if newest else ():
        warehouse.query(f"delete from {table_of(dataset)} where _load_id <= {newest}")
    log.info("RAW has the rows of loads after %d; older ones are deleted.", newest)
    return newest


def require_complete_raw(warehouse: Warehouse, settings: Settings) -> None:
    """Do nothing while RAW has the rows of every object that was loaded.

    :raises RawExpired: rows are deleted; a rebuild of silver from RAW would lose theirs.
    """
    for dataset in EXPIRING:
        ((missing,),) = warehouse.query(
            f"select count(*) from RAW.LOAD_LEDGER where dataset = '{dataset}' "
            "and status = 'loaded' and row_count > 0 and load_id < (select "
            f"coalesce(min(_load_id), 9223372036854775807) from {table_of(dataset)})"
        )
        if missing:
            raise RawExpired(
                f"RAW no longer has the {dataset} of {missing:,} objects (RETENTION_RAW_DAYS), so "
                "rebuilding silver from RAW would lose them. Build a new warehouse from the lake "
                f"instead: {another_warehouse(settings)}, then run `tickhouse load`."
            )


def expire_trades(warehouse: Warehouse, settings: Settings, now: datetime) -> None:
    """Delete silver's trades of session dates more than RETENTION_TRADES_DAYS ago."""
    if settings.retention_trades_days == 0 or warehouse.last_build() is None:
        return
    before = (now - timedelta(days=settings.retention_trades_days)).astimezone(UTC).date()
    warehouse.query(
        f"delete from SILVER.SILVER_TRADES where cast(session_date as date) < date '{before}'",
        of_dbt=True,
    )
    log.info("Silver has the trades from session date %s on.", before)


def loaded_objects(warehouse: Warehouse, settings: Settings, now: datetime) -> dict[str, str]:
    """ETag by key of the objects loaded more than RETENTION_BRONZE_DAYS ago; none if that is 0."""
    if settings.retention_bronze_days == 0:
        return {}
    before = now - timedelta(days=settings.retention_bronze_days)
    rows = warehouse.query(
        "select object_key, etag from RAW.LOAD_LEDGER "
        f"where status = 'loaded' and loaded_at < {timestamp_literal(before)}"
    )
    return {str(key): str(etag) for key, etag in rows}


def expire_bronze(settings: Settings, loaded: dict[str, str]) -> int:
    """Delete objects of `bronze/` that are `loaded` and compacted; return their number.

    An object is compacted when each hour that it has rows of names it as a source.

    :raises LakeError: the lake does not answer or denies access.
    """
    if not loaded:
        return 0
    client, bucket, prefix = s3_client(settings), settings.lake_bucket, settings.lake_prefix
    compacted = _Compacted(client, settings)
    count = 0
    try:
        for dataset in DATASETS:
            for name, etag, *_ in list_objects(client, settings, f"bronze/{dataset}/"):
                if loaded.get(name) == etag and compacted.has(name, etag):
                    client.delete_object(Bucket=bucket, Key=prefix + name)
                    count += 1
    except S3_ERRORS as error:
        raise LakeError(explain(settings, error)) from None
    log.info("Deleted %d objects of bronze/ that are loaded and compacted.", count)
    return count


class _Compacted:
    """Answers whether the rows of an object are in `hourly/`."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._sources: dict[str, dict[str, str]] = {}

    def has(self, name: str, etag: str) -> bool:
        key = ObjectKey.of(name)
        rows = pq.read_table(BytesIO(self._get(name)), columns=[EVENT_TIME[key.dataset]])
        return all(
            self._sources_of(hour_key(key.dataset, hour)).get(name) == etag
            for hour in _hours(rows.column(0))
        )

    def _sources_of(self, key: str) -> dict[str, str]:
        if key not in self._sources:
            try:
                schema = pq.read_schema(BytesIO(self._get(key)))
                self._sources[key] = sources_of(schema)
            except self._client.exceptions.NoSuchKey:
                self._sources[key] = {}
        return self._sources[key]

    def _get(self, name: str) -> bytes:
        found = self._client.get_object(
            Bucket=self._settings.lake_bucket, Key=self._settings.lake_prefix + name
        )
        return bytes(found["Body"].read())


def _hours(moments: pa.ChunkedArray[Any]) -> Iterator[datetime]:
    for hour in pc.unique(pc.floor_temporal(moments, unit="hour")).to_pylist():
        assert isinstance(hour, datetime)
        yield hour.replace(tzinfo=UTC)
