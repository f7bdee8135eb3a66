"""Rows of one symbol for the audit: candles and rollups of their trades, three candles excepted.

The first minute's high is wrong, the second minute has trades and no candle, and the last one has a
candle and no trades.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.integration.warehouse.lake_writer import candle, trade

SYMBOL, DAY = "GOOG", date(2024, 6, 3)
OPEN = datetime(2024, 6, 3, 13, 30, tzinfo=UTC)
TRADED, SURPLUS, MISSING, WRONG = (0, 1, 2, 5, 6, 11), 20, 1, 0
"""Minutes after the open."""
ROLLUPS = ((0, (0, 1, 2)), (5, (5, 6)))
"""Five-minute candles: their start and minutes. A later minute shows that theirs are loaded."""
HIGHS = ("12.000000000000", "11.000000000000")
"""The wrong high, and that of the trades."""

Row = dict[str, Any]


def by_table() -> dict[str, list[Row]]:
    """Rows by table of the warehouse: silver, and RAW for the stream's own rollups."""
    candles = [_candle((minute,), minute) for minute in (*TRADED, SURPLUS) if minute != MISSING]
    candles[0]["high"] = Decimal(HIGHS[0])
    candles[-1]["last_offset"] = 0
    rollups = [_rollup(start, minutes) for start, minutes in ROLLUPS]
    tables = {
        "SILVER.SILVER_TRADES": [row for minute in TRADED for row in _trades(minute)],
        "SILVER.SILVER_CANDLES": candles,
        "SILVER.SILVER_ROLLUPS": rollups,
        "RAW.CANDLES": rollups,
    }
    return {table: [_naive(row) for row in rows] for table, rows in tables.items()}


def _at(minute: int, second: int = 0) -> datetime:
    return OPEN + timedelta(minutes=minute, seconds=second)


def _trades(minute: int) -> list[Row]:
    """Two trades of 100 in one message."""
    return [
        trade(
            SYMBOL,
            0,
            str(10 + number),
            trade_time=_at(minute, 1 + number),
            is_duplicate=False,
            is_rejected=False,
            **_identity("stocks-topic.1717400000000-dddddddd", minute, _at(minute + 1), number),
        )
        for number in range(2)
    ]


def _candle(minutes: tuple[int, ...], start: int, **other: Any) -> Row:
    """The candle of the trades of some minutes."""
    trades = 2 * len(minutes)
    counts = {"trade_count": trades, "eligible_count": trades, "last_offset": minutes[-1]}
    times = {"open_time": _at(minutes[0], 1), "close_time": _at(minutes[-1], 2)}
    identity = _identity("candles-1m.1717400000000-eeeeeeee", start, _at(minutes[-1] + 1))
    return candle(
        SYMBOL,
        0,
        "10 11 10 11",
        volume=str(100 * trades),
        window_start=_at(start),
        session_date=DAY.isoformat(),
        day_minute=570 + start,
        covered_ms=60_000 * len(minutes),
        **(counts | times | identity | other),
    )


def _rollup(start: int, minutes: tuple[int, ...]) -> Row:
    identity = _identity("candles-5m.1717400000000-ffffffff", start, _at(start + 5))
    return _candle(
        minutes,
        start,
        candle_interval="5m",
        window_end=_at(start + 5),
        minute_count=len(minutes),
        **identity,
    )


def _identity(incarnation: str, offset: int, kafka_time: datetime, index: int = 0) -> Row:
    return {
        "_topic_id": incarnation,
        "_incarnation": incarnation,
        "_partition": 0,
        "_offset": offset,
        "_index": index,
        "_kafka_time": kafka_time,
        "_load_id": 2,
    }


def _naive(row: Row) -> Row:
    """Times as the warehouse has them, in UTC without a zone."""
    return {
        name: value.replace(tzinfo=None) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
