"""Records for the tests of the sink."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quixstreams.sinks.base.item import SinkItem

from app.contracts import Candle, Message, Quote, RejectionRecord, Trade, Trades, Watermark, encode

T0 = 1_700_000_040_000
"""2023-11-14 22:14 UTC, a Tuesday, 17:14 in New York: post-market."""


def record(
    message: Message | Candle | RejectionRecord | None,
    offset: int = 0,
    *,
    key: bytes | None = b"AAPL",
    value: bytes | None = None,
) -> SinkItem:
    body = encode(message) if message is not None else value
    return SinkItem(value=body, key=key, timestamp=T0 + offset, headers=(), offset=offset)


def trade(**fields: Any) -> Trade:
    return Trade(**({"t": T0, "p": Decimal("10.5"), "v": Decimal(3)} | fields))


def trades(*parts: Trade, **fields: Any) -> Trades:
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "feed": "replay",
        "source": "desk",
        "connection": "c1",
        "received_at": T0 + 5,
    }
    return Trades(trades=list(parts), **(values | fields))


def quote(**fields: Any) -> Quote:
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "feed": "replay",
        "source": "desk",
        "received_at": T0,
        "c": Decimal("10.5"),
        "d": None,
        "dp": Decimal("-0.25"),
        "h": Decimal(11),
        "l": Decimal(9),
        "o": Decimal(10),
        "pc": Decimal("10.52"),
        "t": T0 // 1000,
    }
    return Quote(**(values | fields))


def watermark(**fields: Any) -> Watermark:
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "feed": "replay",
        "source": "desk",
        "received_at": T0,
        "t": T0 - 5000,
        "minute_start": T0 - 60_000,
        "covered_ms": 60_000,
    }
    return Watermark(**(values | fields))


def candle(**fields: Any) -> Candle:
    values: dict[str, Any] = {
        "candle_id": f"AAPL|1m|{T0}",
        "symbol": "AAPL",
        "feed": "replay",
        "interval": "1m",
        "window_start": T0,
        "window_end": T0 + 60_000,
        "session": "post",
        "session_date": "2023-11-14",
        "open": Decimal(10),
        "high": Decimal(11),
        "low": Decimal(9),
        "close": Decimal("10.5"),
        "open_time": T0,
        "high_time": T0 + 1,
        "low_time": T0 + 2,
        "close_time": T0 + 3,
        "volume": Decimal(100),
        "notional": Decimal("1050.25"),
        "vwap": 10.5025,
        "trade_count": 4,
        "eligible_count": 3,
        "odd_lot_count": 1,
        "odd_lot_volume": Decimal(5),
        "zero_volume_count": 0,
        "price_source": "last",
        "late_count": 0,
        "out_of_order_count": 0,
        "duplicate_count": 1,
        "first_offset": 7,
        "last_offset": 12,
        "covered_ms": None,
        "revision": 0,
        "status": "final",
        "price_rule": "sip",
        "schema_version": 1,
    }
    return Candle(**(values | fields))


def rejected(**fields: Any) -> RejectionRecord:
    values: dict[str, Any] = {
        "stage": "candles",
        "reason": "late",
        "detail": "older than the allowed lateness",
        "feed": "replay",
        "topic": "stocks-topic",
        "partition": 2,
        "offset": 41,
        "indices": [0, 3],
        "size": 210,
        "sha256": "ab" * 32,
        "payload": "e30=",
        "topic_id": "5qcLR2G6Qg-AZbbW2WBPhQ",
    }
    return RejectionRecord(**(values | fields))
