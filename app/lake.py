"""The lake: its datasets, their Arrow schemas, and the keys of their objects.

Keys are `bronze/<dataset>/<incarnation>/<partition>/<first>-<last>.parquet`. They increase with
time, so one listing shows what is new. A topic that is deleted and recreated is a new incarnation,
named `<topic>.<time>-<id>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa

from app.exact import NOTIONAL_DECIMALS, PRICE_DECIMALS
from app.hosts import takes_proxy
from app.settings import Settings

PRICE = pa.decimal128(28, PRICE_DECIMALS)
VOLUME = pa.decimal128(38, PRICE_DECIMALS)
NOTIONAL = pa.decimal128(38, NOTIONAL_DECIMALS)
TIME = pa.timestamp("ms")
"""UTC without a time zone, like TIMESTAMP_NTZ."""

ROW_IDENTITY = ("_topic_id", "_partition", "_offset", "_index")


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    """Return a schema of `columns`, followed by the row's position in Kafka."""
    return pa.schema(
        [
            *columns,
            ("_topic_id", pa.string()),
            ("_incarnation", pa.string()),
            ("_partition", pa.int32()),
            ("_offset", pa.int64()),
            ("_index", pa.int32()),
            ("_kafka_time", TIME),
        ]
    )


_ORIGIN = (("symbol", pa.string()), ("feed", pa.string()), ("source", pa.string()))

DATASETS: dict[str, pa.Schema] = {
    "trades": _schema(
        *_ORIGIN,
        ("feed_connection", pa.string()),
        ("received_at", TIME),
        ("trade_time", TIME),
        ("price", PRICE),
        ("size", PRICE),
        ("notional", NOTIONAL),
        ("conditions", pa.string()),  # sorted codes separated by commas; "" if there are none
        ("session", pa.string()),  # session of the trade's minute
        ("session_date", pa.string()),
        ("frame", pa.int64()),
        ("frame_index", pa.int32()),
        ("repeat_index", pa.int32()),
    ),
    "quotes": _schema(
        *_ORIGIN,
        ("received_at", TIME),
        ("quote_time", TIME),
        ("current_price", PRICE),
        ("change_amount", PRICE),
        ("change_percent", PRICE),
        ("high", PRICE),
        ("low", PRICE),
        ("open", PRICE),
        ("previous_close", PRICE),
        ("session", pa.string()),  # session of the quote's minute
        ("session_date", pa.string()),
    ),
    "coverage": _schema(
        *_ORIGIN,
        ("received_at", TIME),
        ("watermark", TIME),
        ("minute_start", TIME),
        ("covered_ms", pa.int32()),
        ("gap_since", TIME),
    ),
    "candles": _schema(
        ("candle_id", pa.string()),
        ("symbol", pa.string()),
        ("feed", pa.string()),
        ("candle_interval", pa.string()),
        ("window_start", TIME),
        ("window_end", TIME),
        ("session", pa.string()),
        ("session_date", pa.string()),
        ("open", PRICE),
        ("high", PRICE),
        ("low", PRICE),
        ("close", PRICE),
        ("open_time", TIME),
        ("high_time", TIME),
        ("low_time", TIME),
        ("close_time", TIME),
        ("volume", VOLUME),
        ("notional", NOTIONAL),
        ("vwap", pa.float64()),
        ("trade_count", pa.int64()),
        ("eligible_count", pa.int64()),
        ("odd_lot_count", pa.int64()),
        ("odd_lot_volume", VOLUME),
        ("zero_volume_count", pa.int64()),
        ("price_source", pa.string()),
        ("late_count", pa.int64()),
        ("out_of_order_count", pa.int64()),
        ("duplicate_count", pa.int64()),
        ("first_offset", pa.int64()),
        ("last_offset", pa.int64()),
        ("covered_ms", pa.int32()),
        ("revision", pa.int32()),
        ("status", pa.string()),
        ("price_rule", pa.string()),
        ("schema_version", pa.int32()),
        ("pre_volume", VOLUME),  # days only
        ("post_volume", VOLUME),
    ),
    "rejected": _schema(
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("feed", pa.string()),
        ("source_topic_id", pa.string()),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("indices", pa.string()),  # of the message's trades, separated by commas; null: all
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("payload", pa.string()),
    ),
}


EVENT_TIME = {
    "trades": "trade_time",
    "quotes": "quote_time",
    "coverage": "watermark",
    "candles": "window_start",
    "rejected": "_kafka_time",
}
"""The column that determines the hour a row belongs to, by dataset."""

ADDED: dict[str, tuple[str, ...]] = {"candles": ("pre_volume", "post_volume")}
"""Columns that objects and tables of earlier versions lack; the values are null there."""
RENAMED: dict[str, dict[str, str]] = {
    "candles": {"interval": "candle_interval"},
    "trades": {"connection": "feed_connection"},
}
"""Columns that have another name in messages, and had it in objects and tables of earlier versions.
The old names are SQL keywords and would have to be quoted. In DuckDB a quoted lower-case name is
the same column as an upper-case one; in Snowflake it is not."""


class ObjectKey(NamedTuple):
    """The key of an object in the lake, without the namespace's prefix."""

    dataset: str
    incarnation: str
    partition: int
    first_offset: int
    last_offset: int

    def __str__(self) -> str:
        return (
            f"bronze/{self.dataset}/{self.incarnation}/{self.partition:05d}/"
            f"{self.first_offset:019d}-{self.last_offset:019d}.parquet"
        )

    @classmethod
    def parse(cls, key: str) -> ObjectKey | None:
        """Parse a key (without the namespace's prefix); None if it is not of a dataset."""
        parts = key.split("/")
        if len(parts) != 5 or parts[0] != "bronze" or parts[1] not in DATASETS:
            return None
        first, _, last = parts[4].removesuffix(".parquet").partition("-")
        try:
            return cls(parts[1], parts[2], int(parts[3]), int(first), int(last))
        except ValueError:
            return None

    @classmethod
    def of(cls, key: str) -> ObjectKey:
        """Parse a key (without the namespace's prefix).

        :raises ValueError: it is not the key of a dataset's object.
        """
        parsed = cls.parse(key)
        if parsed is None:
            raise ValueError(f"{key!r} is not the name of an object of the lake")
        return parsed


def incarnation_name(topic: str, first_timestamp_ms: int, topic_id: str) -> str:
    """Return the name of an incarnation of `topic`. Later incarnations sort after earlier ones."""
    return f"{topic}.{first_timestamp_ms:013d}-{topic_id[:8]}"


def incarnation_note_key(incarnation: str) -> str:
    """Return the key of the object that records the name of an incarnation."""
    return f"bronze/_incarnations/{incarnation}.json"


def s3_client(settings: Settings) -> Any:
    """Create a boto3 client for the lake, with timeouts and retries.

    It sends signed requests to LAKE_ENDPOINT_URL only, or to Amazon S3 if that is not set. It does
    not follow redirects of LAKE_ENDPOINT_URL and does not read endpoints from other variables or
    files. A proxy from the environment is used for https:// only, and never for addresses of this
    machine.
    """
    from botocore.config import Config

    secret = settings.aws_secret_access_key
    endpoint_url = settings.lake_endpoint_url
    client = _session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        region_name=settings.aws_region,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 4},
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]
            proxies={} if endpoint_url and not takes_proxy(endpoint_url) else None,
        ),
    )
    if endpoint_url:
        client.meta.events.register_first("needs-retry.s3", _accept_redirect)
    return client


@cache
def _session() -> Any:
    """Return the session shared by all clients, so that the definition of S3 is loaded once."""
    # imported here: a build of gold imports this module but needs no client
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_parse_time)
    return boto3.Session(botocore_session=session)


def _parse_time(value: Any) -> datetime:
    """Parse the time of an object in a listing; botocore's own parser takes 35 µs."""
    from botocore.utils import parse_timestamp

    if isinstance(value, str) and value.endswith("Z"):
        return datetime.fromisoformat(value)
    return parse_timestamp(value)


def _accept_redirect(request_dict: dict[str, Any], response: Any, **_: Any) -> None:
    """Make botocore treat a redirect as the final response.

    Otherwise it would request the bucket's region from the same server endlessly.
    """
    if response is not None and 300 <= response[0].status_code < 400:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


class ListedObject(NamedTuple):
    """An object in a listing; `name` is its key without the namespace's prefix."""

    name: str
    etag: str
    size: int
    modified: datetime


def list_objects(
    client: Any, settings: Settings, folder: str, start_after: str = ""
) -> Iterator[ListedObject]:
    """Yield the objects of this namespace under `folder`, in order of their names.

    :param start_after: yield only objects whose name sorts after this one.
    :raises BotoCoreError, ClientError: the lake does not answer, or denies access.
    """
    prefix = settings.lake_prefix
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=settings.lake_bucket,
        Prefix=prefix + folder,
        StartAfter=prefix + start_after if start_after else "",
    )
    for page in pages:
        for item in page.get("Contents", ()):
            yield ListedObject(
                item["Key"].removeprefix(prefix),
                item["ETag"].strip('"'),
                item["Size"],
                item["LastModified"],
            )


def list_folders(client: Any, settings: Settings, folder: str) -> Iterator[str]:
    """Yield the folders of this namespace directly below `folder`, each with a trailing slash.

    :raises BotoCoreError, ClientError: the lake does not answer, or denies access.
    """
    prefix = settings.lake_prefix
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=settings.lake_bucket, Prefix=prefix + folder, Delimiter="/"
    )
    for page in pages:
        for common in page.get("CommonPrefixes", ()):
            yield common["Prefix"].removeprefix(prefix)
