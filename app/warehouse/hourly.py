"""The lake's compacted hours, one object per dataset and hour of event time.

Keys are `hourly/<dataset>/dt=YYYY-MM-DD/hr=HH.parquet`. Compaction writes them beside `bronze/`,
each row once, in order of symbol and time. An object names the bronze objects it was made from, so
a reader takes an hour from here where it is, and else from `bronze/`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.lake import DATASETS, EVENT_TIME, ROW_IDENTITY, ObjectKey, list_objects, s3_client
from app.lake_errors import S3_ERRORS, LakeError, explain, status_of
from app.settings import Settings
from app.warehouse.interface import LakeObject
from app.warehouse.objects import read_object

SOURCES = b"tickhouse.sources"
"""Key of the Parquet file's metadata: JSON, the ETag of each source object by its key."""
HOUR = timedelta(hours=1)


def hour_key(dataset: str, hour: datetime) -> str:
    """The key of an hour's object, without the namespace's prefix."""
    return f"hourly/{dataset}/dt={hour:%Y-%m-%d}/hr={hour:%H}.parquet"


def digest_of(sources: Mapping[str, str]) -> str:
    """A digest of an object's sources, kept in its S3 metadata as `sources-sha256`."""
    return hashlib.sha256(json.dumps(sorted(sources.items())).encode()).hexdigest()


def sources_of(schema: pa.Schema) -> dict[str, str]:
    """The sources that an hour's object names: ETag by key."""
    named: dict[str, str] = json.loads((schema.metadata or {}).get(SOURCES, b"{}"))
    return named


def read_hour(settings: Settings, dataset: str, hour: datetime) -> pa.Table:
    """Read the rows of one hour of event time, from `hourly/` if it is there, else from `bronze/`.

    `bronze/` is listed as a whole; objects that were last written before the hour are skipped.

    :param hour: its beginning, with a time zone.
    :returns: a table of the dataset's schema, each row once; the order is not defined.
    :raises LakeError: the lake does not answer or denies access.
    """
    start = hour.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    client, bucket = s3_client(settings), settings.lake_bucket
    try:
        name = settings.lake_prefix + hour_key(dataset, start)
        body = client.get_object(Bucket=bucket, Key=name)["Body"].read()
        return pq.read_table(BytesIO(body)).replace_schema_metadata(None)
    except client.exceptions.NoSuchKey:
        pass
    except S3_ERRORS as error:
        raise LakeError(explain(settings, error)) from None
    try:
        return _from_bronze(settings, client, dataset, start)
    except S3_ERRORS as error:
        raise LakeError(explain(settings, error)) from None


def _from_bronze(settings: Settings, client: Any, dataset: str, start: datetime) -> pa.Table:
    tables = [DATASETS[dataset].empty_table()]
    for found in list_objects(client, settings, f"bronze/{dataset}/"):
        key = ObjectKey.parse(found.name)
        if key is None or found.modified < start:
            continue
        name = settings.lake_prefix + found.name
        body = client.get_object(Bucket=settings.lake_bucket, Key=name)["Body"].read()
        rows = read_object(LakeObject(key, found.etag, found.size), body).rows
        if rows is not None:
            tables.append(within_hour(rows, dataset, start))
    return distinct(pa.concat_tables(tables))


def within_hour(rows: pa.Table, dataset: str, start: datetime) -> pa.Table:
    """The rows whose event time is in the hour from `start`."""
    column = rows.column(EVENT_TIME[dataset])
    bounds = [
        pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), column.type)
        for moment in (start, start + HOUR)
    ]
    inside = pc.and_(pc.greater_equal(column, bounds[0]), pc.less(column, bounds[1]))
    return rows.filter(inside)


def distinct(rows: pa.Table) -> pa.Table:
    """One row of each identity: rows that the archive wrote twice are equal."""
    numbered = rows.select(list(ROW_IDENTITY)).append_column(
        "number", pa.array(range(rows.num_rows), pa.int64())
    )
    first = numbered.group_by(list(ROW_IDENTITY)).aggregate([("number", "min")])
    return rows.take(first.column("number_min"))


def is_missing(error: Exception) -> bool:
    """Whether an error of S3 is that the object does not exist."""
    return getattr(error, "response", None) is not None and status_of(error) == 404  # type: ignore[arg-type]
