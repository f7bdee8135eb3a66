"""Rollups that keep the newest record of every minute and merge all of them after each message.

Written from the rules alone, on the records of minutes as they come; where a window begins and ends
is found by asking each minute around for its session.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from app.contracts import Candle
from app.market.sessions import session_of
from topologies.core.candle import Rules

MINUTE = 60_000
DAY = 1440 * MINUTE
WIDTHS = {"5m": 5, "15m": 15, "1h": 60}
CLASSES = ("last", "high_low", "ineligible", "quote")
SUMMED = (
    *("trade_count", "eligible_count", "odd_lot_count", "zero_volume_count"),
    *("late_count", "out_of_order_count", "duplicate_count"),
    *("volume", "notional", "odd_lot_volume"),
)


class RollupKey(NamedTuple):
    """A rollup's interval and bounds."""

    interval: str
    start: int
    end: int


@cache
def rollups_of(symbol: str, feed: str, minute: int) -> tuple[RollupKey, ...]:
    """The rollups a minute is part of."""
    session, date = session_of(symbol, feed, minute)
    found = []
    for interval, width in WIDTHS.items():
        bucket = minute - minute % (width * MINUTE)
        around = range(bucket, bucket + width * MINUTE, MINUTE)
        same = [m for m in around if session_of(symbol, feed, m) == (session, date)]
        found.append(RollupKey(interval, same[0], same[-1] + MINUTE))
    if session != "closed":
        around = range(minute - DAY, minute + DAY, MINUTE)
        of_day = [m for m in around if is_of_day(symbol, feed, m, date)]
        found.append(RollupKey("1d", of_day[0], of_day[-1] + MINUTE))
    return tuple(found)


def is_of_day(symbol: str, feed: str, minute: int, date: str) -> bool:
    session = session_of(symbol, feed, minute)
    return session.session_date == date and session.session != "closed"


class NaiveRollups:
    """One symbol: feed it the minutes' records and the watermark behind each message."""

    def __init__(self, symbol: str, rules: Rules) -> None:
        self.symbol, self.rules = symbol, rules
        self.minutes: dict[int, Candle] = {}
        self.emitted: dict[RollupKey, dict[str, Any]] = {}
        self.revisions: dict[RollupKey, int] = {}

    def apply(self, records: list[Candle], watermark: int) -> list[Candle]:
        """The records of rollups, those of the shortest interval first."""
        self.minutes |= {record.window_start: record for record in records}
        made = []
        for place, minutes in self.by_rollup().items():
            fields = self.merged(place, minutes)
            if fields is None:
                continue
            changed = fields != self.emitted.get(place)
            self.emitted[place] = fields
            if place in self.revisions:
                if not changed:
                    continue
                self.revisions[place] += 1
                status = "revised"
            elif watermark >= place.end:
                self.revisions[place] = 0
                status = "final"
            elif changed:
                status = "partial"
            else:
                continue
            made.append(Candle(**fields, status=status, revision=self.revisions.get(place)))
        return made

    def by_rollup(self) -> dict[RollupKey, list[Candle]]:
        found: dict[RollupKey, list[Candle]] = {}
        for start in sorted(self.minutes):
            for place in rollups_of(self.symbol, self.rules.feed, start):
                found.setdefault(place, []).append(self.minutes[start])
        order = ["5m", "15m", "1h", "1d"]
        return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))

    def merged(self, place: RollupKey, every: list[Candle]) -> dict[str, Any] | None:
        """All fields but status and revision; None where nothing but a day's pre-market is."""
        of_day = place.interval == "1d"
        minutes = [m for m in every if not of_day or m.session in ("regular", "continuous")]
        if not minutes:
            return None
        best = min(CLASSES.index(m.price_source) for m in minutes)
        own = [m for m in minutes if CLASSES.index(m.price_source) == best]
        wide = [m for m in minutes if CLASSES.index(m.price_source) <= max(best, 1)]
        wide = wide if best == 0 else own
        high, low = max(m.high for m in wide), min(m.low for m in wide)
        sums = {name: sum(getattr(m, name) for m in minutes) for name in SUMMED}
        covered = [m.covered_ms for m in minutes if m.covered_ms is not None]
        session = minutes[0].session
        beside = of_day and session == "regular"
        return {
            "candle_id": f"{self.symbol}|{place.interval}|{place.start}",
            "symbol": self.symbol,
            "feed": self.rules.feed,
            "interval": place.interval,
            "window_start": place.start,
            "window_end": place.end,
            "session": session,
            "session_date": minutes[0].session_date,
            "open": own[0].open,
            "open_time": own[0].open_time,
            "high": high,
            "high_time": min(m.high_time for m in wide if m.high == high),
            "low": low,
            "low_time": min(m.low_time for m in wide if m.low == low),
            "close": own[-1].close,
            "close_time": own[-1].close_time,
            **sums,
            "vwap": exact_quotient(sums["notional"], sums["volume"]),
            "price_source": CLASSES[best],
            "first_offset": min(m.first_offset for m in minutes),
            "last_offset": max(m.last_offset for m in minutes),
            "covered_ms": sum(covered) if covered else None,
            "price_rule": self.rules.price_rule,
            "schema_version": 1,
            "pre_volume": volume_of("pre", every) if beside else None,
            "post_volume": volume_of("post", every) if beside else None,
        }


def volume_of(session: str, minutes: list[Candle]) -> Decimal:
    return sum((m.volume for m in minutes if m.session == session), Decimal(0))


def exact_quotient(notional: Decimal, volume: Decimal) -> float | None:
    if not volume:
        return None
    (n, d), (m, e) = notional.as_integer_ratio(), volume.as_integer_ratio()
    return (n * e) / (d * m)
