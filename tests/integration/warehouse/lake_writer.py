"""Write objects of the lake as the archive does, with default values for most columns."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.lake import DATASETS, ObjectKey, s3_client
from app.settings import Settings

START = datetime(2024, 3, 5, 14, 30, tzinfo=UTC)
"""A Tuesday, 09:30 in New York."""
STOCKS_INCARNATION = "stocks-topic.1709640000000-aaaaaaaa"
CANDLES_INCARNATION = "candles-1m.1709640000000-bbbbbbbb"
REJECTED_INCARNATION = "trades-rejected.1709640000000-cccccccc"

ORIGIN = {"feed": "replay", "source": "test"}


def at(seconds: float, start: datetime = START) -> datetime:
    """The moment `seconds` after the open."""
    return start + timedelta(seconds=seconds)


def trade(
    symbol: str, seconds: float, price: str, size: str = "100", **other: Any
) -> dict[str, Any]:
    """A row of dataset trades."""
    moment = other.get("trade_time", at(seconds))
    return {
        **ORIGIN,
        "symbol": symbol,
        "feed_connection": "c1",
        "received_at": moment,
        "trade_time": moment,
        "price": Decimal(price),
        "size": Decimal(size),
        "notional": Decimal(price) * Decimal(size),
        "conditions": "",
        "session": "regular",
        "session_date": moment.date().isoformat(),
        "frame": 0,
        "frame_index": 0,
        "repeat_index": 0,
    } | other


def candle(
    symbol: str, minute: int, prices: str, volume: str = "300", **other: Any
) -> dict[str, Any]:
    """A row of dataset candles; `prices` is `open high low close`."""
    first, high, low, last = map(Decimal, prices.split())
    start = other.get("window_start", at(60 * minute))
    notional = other.get("notional", (low + high) / 2 * Decimal(volume))
    return {
        "candle_id": f"{symbol}|1m|{round(1000 * start.timestamp())}",
        "symbol": symbol,
        "feed": "replay",
        "candle_interval": "1m",
        "window_start": start,
        "window_end": start + timedelta(minutes=1),
        "session": "regular",
        "session_date": start.date().isoformat(),
        "open": first,
        "high": high,
        "low": low,
        "close": last,
        "open_time": start,
        "high_time": start,
        "low_time": start,
        "close_time": start + timedelta(seconds=59),
        "volume": Decimal(volume),
        "notional": notional,
        "vwap": float(notional / Decimal(volume)) if Decimal(volume) else None,
        "trade_count": 3,
        "eligible_count": 3,
        "odd_lot_count": 0,
        "odd_lot_volume": Decimal(0),
        "zero_volume_count": 0,
        "price_source": "last",
        "late_count": 0,
        "out_of_order_count": 0,
        "duplicate_count": 0,
        "first_offset": 0,
        "last_offset": 0,
        "covered_ms": 60_000,
        "revision": 0,
        "status": "final",
        "price_rule": "sip",
        "schema_version": 1,
    } | other


def quote(symbol: str, seconds: float, price: str, previous: str, **other: Any) -> dict[str, Any]:
    """A row of dataset quotes."""
    moment = at(seconds)
    current, before = Decimal(price), Decimal(previous)
    return {
        **ORIGIN,
        "symbol": symbol,
        "received_at": moment,
        "quote_time": moment,
        "current_price": current,
        "change_amount": current - before,
        "change_percent": round(100 * (current - before) / before, 4),
        "high": current,
        "low": current,
        "open": current,
        "previous_close": before,
        "session": "regular",
        "session_date": moment.date().isoformat(),
    } | other


def watermark(symbol: str, seconds: float, **other: Any) -> dict[str, Any]:
    """A row of dataset coverage."""
    moment = at(seconds)
    return {
        **ORIGIN,
        "symbol": symbol,
        "received_at": moment,
        "watermark": moment,
        "minute_start": None,
        "covered_ms": None,
        "gap_since": None,
    } | other


def rejection(partition: int, offset: int, indices: str | None, **other: Any) -> dict[str, Any]:
    """A row of dataset rejected: trades of a message that the candles application rejected."""
    return {
        "stage": "candles",
        "reason": "late",
        "detail": "too late",
        "feed": "replay",
        "source_topic_id": STOCKS_INCARNATION,
        "source_topic": "stocks-topic",
        "source_partition": partition,
        "source_offset": offset,
        "indices": indices,
        "size": 1,
        "sha256": "",
        "payload": None,
    } | other


INCARNATIONS = {
    "trades": STOCKS_INCARNATION,
    "quotes": STOCKS_INCARNATION,
    "coverage": STOCKS_INCARNATION,
    "candles": CANDLES_INCARNATION,
    "rejected": REJECTED_INCARNATION,
}


class LakeWriter:
    """Writes objects into the bucket of `settings`; offsets rise within their folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = s3_client(settings)
        self._next: dict[tuple[str, str, int], int] = {}

    def put(
        self,
        dataset: str,
        rows: Iterable[dict[str, Any]],
        partition: int = 0,
        incarnation: str | None = None,
        first_offset: int | None = None,
    ) -> ObjectKey:
        """Write `rows` as one object, each a message of its own unless it has `_offset`."""
        incarnation = incarnation or INCARNATIONS[dataset]
        folder = (dataset, incarnation, partition)
        offset = self._next.get(folder, 0) if first_offset is None else first_offset
        complete = []
        for number, row in enumerate(rows):
            identity = {
                "_topic_id": incarnation,
                "_incarnation": incarnation,
                "_partition": partition,
                "_offset": offset + number,
                "_index": 0,
                "_kafka_time": START,
            }
            complete.append(identity | row)
        key = ObjectKey(
            dataset, incarnation, partition, complete[0]["_offset"], complete[-1]["_offset"]
        )
        self._next[folder] = max(self._next.get(folder, 0), key.last_offset + 1)
        self.put_table(key, pa.Table.from_pylist(complete, schema=DATASETS[dataset]))
        return key

    def table(self, key: ObjectKey) -> pa.Table:
        """The rows of the object `key`."""
        body = self._client.get_object(
            Bucket=self._settings.lake_bucket, Key=self._settings.lake_prefix + str(key)
        )["Body"].read()
        return pq.read_table(io.BytesIO(body))

    def put_table(self, key: ObjectKey, table: pa.Table) -> None:
        """Write `table` as the object `key`, whatever its columns."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.put_bytes(key, buffer.getvalue())

    def put_bytes(self, key: ObjectKey, body: bytes) -> None:
        """Write `body` as the object `key`."""
        self._client.put_object(
            Bucket=self._settings.lake_bucket,
            Key=self._settings.lake_prefix + str(key),
            Body=body,
        )
