"""A synthetic market in the lake: random walks of ten symbols over three session dates."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.warehouse.lake_writer import (
    START,
    LakeWriter,
    candle,
    quote,
    rejection,
    trade,
    watermark,
)

BTC = "BINANCE:BTCUSDT"
PRICES = {
    "AAPL": 170.0,
    "AMZN": 176.0,
    "GOOGL": 133.0,
    "JNJ": 159.0,
    "JPM": 186.0,
    "MSFT": 405.0,
    "NVDA": 852.0,
    "TSLA": 181.0,
    "XOM": 104.0,
    BTC: 66_500.0,
}
TURNOVER = dict(zip(PRICES, (5, 4, 3, 1, 1.5, 4, 9, 7, 1.5, 3), strict=True))
"""Traded value of an average minute, in millions."""
DAYS_BEFORE = (4, 1, 0)
"""The Friday, the Monday and the Tuesday of `START`."""
MINUTES_OF_LAST_DAY = 214
FULL_DAY = 390


def write_market(lake: LakeWriter, seed: int = 1) -> None:
    """Candles, trades, quotes, coverage and rejections of the market."""
    chance = random.Random(seed)
    sent = datetime.now(UTC) - timedelta(seconds=4)  # what load lag is measured from
    for partition, (symbol, price) in enumerate(PRICES.items()):
        closes: list[float] = []
        for days in DAYS_BEFORE:
            minutes = MINUTES_OF_LAST_DAY if days == 0 else FULL_DAY
            start = START - timedelta(days=days)
            rows = _day(chance, symbol, price, start, minutes, sent)
            lake.put("candles", rows, partition=partition)
            price = float(rows[-1]["close"])
            closes.append(price)
        newest = 60.0 * MINUTES_OF_LAST_DAY
        lake.put("coverage", [watermark(symbol, newest)], partition=partition)
        if symbol != BTC:  # Finnhub has quotes of stocks
            lake.put(
                "quotes",
                [quote(symbol, newest - 30, f"{closes[-1]:.2f}", f"{closes[-2]:.2f}")],
                partition=partition,
            )
        _trades(lake, symbol, price, partition)
    rejected = [rejection(partition, number, "0") for partition in (0, 3, 7) for number in (1, 2)]
    lake.put("rejected", rejected)


def _day(
    chance: random.Random, symbol: str, price: float, start: datetime, minutes: int, sent: datetime
) -> list[dict[str, Any]]:
    step = 0.0011 if symbol == BTC else 0.0007 * (2.2 if symbol in ("NVDA", "TSLA") else 1)
    session = {"session": "continuous"} if symbol == BTC else {}
    rows = []
    for minute in range(minutes):
        opened = price
        path = [opened]
        for _ in range(6):
            path.append(path[-1] * math.exp(chance.gauss(0, step / 2.4)))
        price = path[-1]
        prices = " ".join(f"{each:.2f}" for each in (opened, max(path), min(path), price))
        busy = 1.2 + math.cos(2 * math.pi * minute / FULL_DAY)  # more at open and close
        volume = 1_000_000 * TURNOVER[symbol] / opened * busy * chance.uniform(0.5, 1.5)
        revised = minute % 97 == 41
        rows.append(
            candle(
                symbol,
                0,
                prices,
                f"{volume:.2f}",
                window_start=start + timedelta(minutes=minute),
                covered_ms=41_000 if minute in (60, 61) and symbol in ("XOM", "JNJ") else 60_000,
                revision=int(revised),
                status="revised" if revised else "final",
                late_count=2 if revised else 0,
                _kafka_time=sent,
                **session,
            )
        )
    return rows


def _trades(lake: LakeWriter, symbol: str, price: float, partition: int) -> None:
    rows = [trade(symbol, 60 * number, f"{price:.2f}") for number in range(8)]
    lake.put("trades", [*rows, rows[-1]], partition=partition)
