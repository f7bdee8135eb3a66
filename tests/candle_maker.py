"""Candles for tests of the page and of examples: one at a time, or a small random market.

`python -m tests.candle_maker BROKERS NAMESPACE` keeps a market moving, to inspect the page by hand.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from confluent_kafka import Producer

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, ROLLUP_TOPICS, Candle, encode
from app.settings import Settings
from app.topics import ensure_topics
from app.warehouse.published import POINTER, TABLES, folder

MINUTE = 60_000
START = 1_700_000_040_000  # a full minute, 2023-11-14 22:14 UTC


def candle(symbol: str = "AAPL", minute: int = 0, close: float = 100.0, **fields: Any) -> Candle:
    """A candle of `symbol`, `minute` minutes after `START`; a final one by default."""
    price = Decimal(str(close))
    start = START + minute * MINUTE
    values: dict[str, Any] = {
        "feed": "replay",
        "interval": "1m",
        "window_start": start,
        "session": "continuous",
        "session_date": datetime.fromtimestamp(start / 1000, UTC).date().isoformat(),
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "volume": Decimal(10),
        "trade_count": 1,
        "last_offset": minute,
        "revision": 0,
        "status": "final",
    } | fields
    start = values["window_start"]
    volume = values["volume"]
    times = dict.fromkeys(("open_time", "high_time", "low_time", "close_time"), start + 1_000)
    rest = {
        "candle_id": f"{symbol}|1m|{start}",
        "window_end": start + MINUTE,
        "notional": values["close"] * volume,
        "vwap": float(values["close"]) if volume else None,
        "eligible_count": values["trade_count"],
        "odd_lot_count": 0,
        "odd_lot_volume": Decimal(0),
        "zero_volume_count": 0,
        "price_source": "last",
        "late_count": 0,
        "out_of_order_count": 0,
        "duplicate_count": 0,
        "first_offset": 0,
        "covered_ms": 60_000,
        "price_rule": "sip",
        "schema_version": 1,
    }
    return Candle(**({"symbol": symbol} | rest | times | values))


def partial(symbol: str = "AAPL", minute: int = 0, close: float = 100.0, **fields: Any) -> Candle:
    """A candle of a minute that is not over."""
    return candle(symbol, minute, close, **({"revision": None, "status": "partial"} | fields))


class CandleProducer:
    """Sends candles to the topics they belong in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings.kafka_client() | {"linger.ms": 0, "log_level": 0})

    def send(self, *candles: Candle, flush: bool = True) -> None:
        for each in candles:
            minutes = LIVE_TOPIC if each.revision is None else CANDLES_TOPIC
            topic = minutes if each.interval == "1m" else ROLLUP_TOPICS[each.interval]
            self.send_raw(topic, each.symbol, encode(each))
        if flush:
            assert self._producer.flush(10) == 0

    def send_raw(self, topic: str, key: str, value: bytes | None) -> None:
        self._producer.produce(self._settings.named(topic), key=key, value=value)
        self._producer.poll(0)


def publish_gold(settings: Settings, name: str, **tables: list[dict[str, Any]]) -> Path:
    """Write a published read file with `tables` (kpi, treechart, ...) and point to it."""
    folder(settings).mkdir(parents=True, exist_ok=True)
    path = folder(settings) / name
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema gold")
        for table, columns in TABLES.items():
            rows = tables.get(table.removeprefix("gold_"), [])
            typed = ", ".join(f'"{column}" {_type(column)}' for column in columns)
            connection.execute(f"create table gold.{table} ({typed})")
            for row in rows:
                values = [row.get(column) for column in columns]
                marks = ", ".join("?" * len(columns))
                connection.execute(f"insert into gold.{table} values ({marks})", values)
    pointer = folder(settings) / f"{POINTER}.new"
    pointer.write_text(name + "\n")
    pointer.replace(folder(settings) / POINTER)
    return path


_TEXTS = {
    *("symbol", "symbol_class", "sector", "session", "status", "feed", "price_source"),
    *("dataset", "candle_interval", "reason", "content", "object_key"),
}
_TIMES = {
    *("as_of", "candle_time", "candle_end", "exchange_time"),
    *("watermark", "event_time", "loaded_at"),
}


def _type(column: str) -> str:
    if column in _TEXTS or column.endswith("_basis"):
        return "varchar"
    if column in _TIMES:
        return "timestamp"
    return "date" if column == "session_date" else "double"


class Walk:
    """A random walk of one symbol, minute by minute, each with a few partials."""

    def __init__(self, symbol: str, price: float, seed: int) -> None:
        self.symbol, self.price = symbol, price
        self._random = random.Random(f"{symbol}{seed}")
        self._offset = 0

    def minute(self, start: int, feed: str, ticks: int = 20) -> Iterator[Candle]:
        """Partials of the minute at `start`, at last its final candle."""
        opened = high = low = self.price
        volume = notional = 0.0
        for tick in range(1, ticks + 1):
            self.price *= math.exp(self._random.gauss(0, 0.0002))
            high, low = max(high, self.price), min(low, self.price)
            size = self._random.expovariate(self.price / 7_000)
            volume, notional = volume + size, notional + size * self.price
            self._offset += 1
            final = tick == ticks
            close_time = start + tick * MINUTE // ticks - 1
            prices = _prices(opened, high, low, self.price)
            fields: dict[str, Any] = {name: Decimal(f"{price:.2f}") for name, price in prices}
            yield candle(
                self.symbol,
                feed=feed,
                window_start=start,
                session_date=datetime.fromtimestamp(start / 1000, UTC).date().isoformat(),
                **fields,
                volume=Decimal(f"{volume:.3f}"),
                notional=Decimal(f"{notional:.5f}"),
                trade_count=tick * 7,
                close_time=close_time,
                last_offset=self._offset,
                revision=0 if final else None,
                status="final" if final else "partial",
            )


def _prices(o: float, h: float, low: float, c: float) -> list[tuple[str, float]]:
    return [("open", o), ("high", h), ("low", low), ("close", c)]


MARKET = {
    "AAPL": 231.4,
    "MSFT": 512.9,
    "NVDA": 182.2,
    "AMZN": 226.1,
    "GOOGL": 279.8,
    "META": 610.3,
    "TSLA": 401.2,
    "AMD": 233.5,
    "SPY": 671.0,
    "QQQ": 608.4,
    "BINANCE:BTCUSDT": 93_120.0,
}


def keep_moving(settings: Settings, history: int = 400) -> None:
    """Publish candles of a moving market with `history` minutes, until interrupted."""
    ensure_topics(settings)
    producer = CandleProducer(settings)
    walks = [Walk(symbol, price, seed=1) for symbol, price in MARKET.items()]
    start = time.time_ns() // 1_000_000 // MINUTE * MINUTE
    for minute in range(start - history * MINUTE, start, MINUTE):
        for walk in walks:
            producer.send(*list(walk.minute(minute, settings.tickhouse_feed))[-1:], flush=False)
    while True:
        minutes = [list(walk.minute(start, settings.tickhouse_feed, 240)) for walk in walks]
        for tick in zip(*minutes, strict=True):
            while time.time_ns() // 1_000_000 < tick[0].close_time:
                time.sleep(0.05)
            producer.send(*tick)
        start += MINUTE


if __name__ == "__main__":
    keep_moving(
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            kafka_brokers=sys.argv[1],
            tickhouse_namespace=sys.argv[2],
            tickhouse_feed="simulated",
        )
    )
