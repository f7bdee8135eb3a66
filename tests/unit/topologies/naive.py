"""A candle model that keeps every trade in a list and computes all fields from scratch.

It is written from the rules alone, shares no code with `topologies.core.candle` but the records'
class and the table of conditions, and is far too slow for anything but judging.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from app.contracts import Candle, Quote, Trades, Watermark
from app.market.conditions import BY_CODE
from app.market.sessions import session_of
from topologies.core.candle import Rules

MINUTE = 60_000


def minute_of(t: int) -> int:
    return t // MINUTE * MINUTE


def classes(c: list[str] | None, session: str) -> tuple[bool, bool, bool]:
    """(high_low, last, is a trade) by the tape's rules."""
    known = [
        BY_CODE.get(code) for code in c or [] if not (code == "24" and session in ("pre", "post"))
    ]
    high_low = all(condition is not None and condition.high_low for condition in known)
    last = all(condition is not None and condition.last for condition in known)
    volume = all(condition is None or condition.volume for condition in known)
    return high_low, last, volume


class NaiveCandles:
    """One symbol; feed it messages, it answers with (records, partials, rejections)."""

    def __init__(self, symbol: str, rules: Rules) -> None:
        self.symbol, self.rules = symbol, rules
        self.trades: list[dict[str, Any]] = []
        self.quotes: list[dict[str, Any]] = []
        self.reported: list[tuple[str, int]] = []
        self.coverage: dict[int, dict[str, int]] = {}
        self.touches: dict[int, list[int]] = {}
        self.duplicates: dict[int, int] = {}
        self.revisions: dict[int, int] = {}
        self.emitted: dict[int, Candle] = {}
        self.dropped: set[int] = set()
        self.watermark = 0
        self.moved = 0
        self.slot: int | None = None
        self.changed: set[int] = set()
        self.coverage_second = -1

    def past(self, start: int) -> bool:
        return self.watermark >= start + MINUTE + self.rules.allowed_lateness_ms

    def apply(self, message: Any, offset: int) -> tuple[list[Candle], list[Candle], list[Any]]:
        rejections: list[Any] = []
        market_changed: set[int] = set()
        if isinstance(message, Trades):
            self._trades(message, offset, rejections, market_changed)
        elif isinstance(message, Watermark):
            self._coverage(message, offset)
            self.reported.append((message.source, message.t))
        else:
            self._quote(message, offset, rejections, market_changed)
        self.watermark = max(
            self.watermark, self.moved - self.rules.grace_ms, self._sources_watermark()
        )
        second = message.received_at // 1000
        later = second > self.coverage_second
        records = []
        for start in sorted(self.touches):
            if start in self.dropped:
                continue
            if start not in self.revisions and self.watermark >= start + MINUTE:
                self.revisions[start] = 0
                records.append(self._candle(start, "final"))
                self.changed.discard(start)
            elif start in self.revisions and start in market_changed:
                self.revisions[start] += 1
                records.append(self._candle(start, "revised"))
            elif self._coverage_is_pending(start) and (later or self.past(start)):
                self.revisions[start] += 1
                records.append(self._candle(start, "revised"))
                self.coverage_second = max(self.coverage_second, second)
        self.emitted |= {record.window_start: record for record in records}
        self.dropped |= {start for start in self.touches if self.past(start)}
        partials = []
        shown = message.received_at // 100 != self.slot or isinstance(message, Watermark)
        if self.changed and shown:
            self.slot = message.received_at // 100
            partials = [self._candle(start, "partial") for start in sorted(self.changed)]
            self.changed.clear()
        return records, partials, rejections

    def _coverage_is_pending(self, start: int) -> bool:
        return start in self.emitted and self.emitted[start].covered_ms != self._covered(start)

    def _coverage(self, message: Watermark, offset: int) -> None:
        last, covered_ms = message.minute_start, message.covered_ms
        if last is None or covered_ms is None:
            return
        first = last if message.gap_since is None else minute_of(message.gap_since)
        for start in range(min(first, last), last + 1, MINUTE):
            unopened = start not in self.touches
            if self.past(start) or (
                unopened and start < minute_of(last - self.rules.allowed_lateness_ms)
            ):
                continue
            before = self._covered(start)
            self.coverage.setdefault(start, {})[message.source] = covered_ms
            if start in self.revisions and before != self._covered(start):
                self.touches[start].append(offset)

    def _trades(
        self, message: Trades, offset: int, rejections: list[Any], market_changed: set[int]
    ) -> None:
        late, future = [], []
        for index, trade in enumerate(message.trades):
            start = minute_of(trade.t)
            session = session_of(self.symbol, self.rules.feed, start).session
            sip = self.rules.price_rule == "sip"
            if trade.t > message.received_at + 60_000:
                future.append(index)
                continue
            high_low, last, is_trade = classes(trade.c, session)
            if not sip:
                high_low = last = is_trade = True
            if not is_trade:
                continue
            if self.past(start):
                late.append(index)
                continue
            identity = (trade.t, trade.p, trade.v, tuple(sorted(trade.c or [])), trade.k)
            self.touches.setdefault(start, []).append(offset)
            self.moved = max(self.moved, min(trade.t, message.received_at))
            if start not in self.revisions:
                self.changed.add(start)
            if any(known["identity"] == identity for known in self.trades):
                self.duplicates[start] = self.duplicates.get(start, 0) + 1
                continue
            if start in self.revisions:
                market_changed.add(start)
            if sip and trade.v == 0:
                price_class = "quote"
            else:
                price_class = "last" if last else "high_low" if high_low else "ineligible"
            self.trades.append(
                {
                    "identity": identity,
                    "start": start,
                    "t": trade.t,
                    "p": trade.p,
                    "v": trade.v,
                    "class": price_class,
                    "last": last,
                    "odd": "12" in (trade.c or []),
                    "late": start in self.revisions,
                    "out_of_order": trade.t < max((x["t"] for x in self.trades), default=0),
                    "arrival": len(self.trades) + len(self.quotes),
                }
            )
        if late:
            rejections.append(("late", tuple(late)))
        if future:
            rejections.append(("future", tuple(future)))

    def _quote(
        self, quote: Quote, offset: int, rejections: list[Any], market_changed: set[int]
    ) -> None:
        t = quote.t * 1000
        start = minute_of(t)
        if t > quote.received_at + 60_000:
            rejections.append(("future", None))
            return
        old_news = quote.received_at >= start + MINUTE + self.rules.allowed_lateness_ms
        if quote.c <= 0 or old_news or self.past(start):
            return
        if any(known["t"] == t for known in self.quotes):
            return
        before = self._prices(start) if start in self.touches else None
        self.quotes.append(
            {
                "start": start,
                "t": t,
                "p": quote.c,
                "class": "quote",
                "arrival": len(self.trades) + len(self.quotes),
            }
        )
        if self._prices(start) != before:
            self.touches.setdefault(start, []).append(offset)
            if start in self.revisions:
                market_changed.add(start)
            else:
                self.changed.add(start)

    def _sources_watermark(self) -> int:
        newest = dict(self.reported)
        return min((newest[source] for source in self._alive()), default=0)

    def _alive(self) -> set[str]:
        """Replay all watermarks: a source is out once another moved on 150 s since its last."""
        newest: dict[str, int] = {}
        base: dict[tuple[str, str], int] = {}
        alive: set[str] = set()
        for source, t in self.reported:
            newest[source] = t
            alive.add(source)
            for other in alive:
                base[(source, other)] = newest[other]
            for other in list(alive - {source}):
                if t - base.setdefault((other, source), t) >= 150_000:
                    alive.discard(other)
                    for pair in [pair for pair in base if other in pair]:
                        del base[pair]
        return alive

    def _covered(self, start: int) -> int | None:
        reported = self.coverage.get(start, {})
        return max(reported.values()) if reported else None

    def _prices(self, start: int) -> tuple[Any, ...]:
        """(open, its time, high, its time, low, its time, close, its time, source)."""
        prints = [x for x in self.trades + self.quotes if x["start"] == start]
        by_class = {
            "last": [x for x in prints if x["class"] == "last"],
            "high_low": [x for x in prints if x["class"] in ("last", "high_low")],
            "ineligible": [x for x in prints if x["class"] != "quote"],
            "quote": prints,
        }
        source = next(name for name, found in by_class.items() if found)
        best = by_class[source]
        wide = by_class["high_low"] if source == "last" else best
        opens = min(best, key=lambda x: (x["t"], x["arrival"]))
        closes = max(best, key=lambda x: (x["t"], x["arrival"]))
        high = max(x["p"] for x in wide)
        low = min(x["p"] for x in wide)
        return (
            opens["p"],
            opens["t"],
            high,
            min(x["t"] for x in wide if x["p"] == high),
            low,
            min(x["t"] for x in wide if x["p"] == low),
            closes["p"],
            closes["t"],
            source,
        )

    def _candle(self, start: int, status: str) -> Candle:
        prints = [x for x in self.trades if x["start"] == start]
        real = [x for x in prints if x["v"] > 0]
        volume = sum((Fraction(x["v"]) for x in real), Fraction(0))
        notional = sum(
            (Fraction(round(Fraction(x["p"]) * Fraction(x["v"]) * 10**18), 10**18) for x in real),
            Fraction(0),
        )
        open_, open_time, high, high_time, low, low_time, close, close_time, source = self._prices(
            start
        )
        session, session_date = session_of(self.symbol, self.rules.feed, start)
        return Candle(
            candle_id=f"{self.symbol}|1m|{start}",
            symbol=self.symbol,
            feed=self.rules.feed,
            interval="1m",
            window_start=start,
            window_end=start + MINUTE,
            session=session.value,
            session_date=session_date,
            open=open_,
            high=high,
            low=low,
            close=close,
            open_time=open_time,
            high_time=high_time,
            low_time=low_time,
            close_time=close_time,
            volume=_decimal(volume),
            notional=_decimal(notional),
            vwap=float(notional / volume) if volume else None,
            trade_count=len(real),
            eligible_count=sum(x["last"] for x in real),
            odd_lot_count=sum(x["odd"] for x in real),
            odd_lot_volume=_decimal(sum((Fraction(x["v"]) for x in real if x["odd"]), Fraction(0))),
            zero_volume_count=len(prints) - len(real),
            price_source=source,
            late_count=sum(x["late"] for x in prints),
            out_of_order_count=sum(x["out_of_order"] for x in prints),
            duplicate_count=self.duplicates.get(start, 0),
            first_offset=self.touches[start][0],
            last_offset=self.touches[start][-1],
            covered_ms=self._covered(start),
            revision=None if status == "partial" else self.revisions[start],
            status=status,  # type: ignore[arg-type]
            price_rule=self.rules.price_rule,
            schema_version=1,
        )


def _decimal(number: Fraction) -> Decimal:
    scaled = number * 10**18
    assert scaled.denominator == 1
    return Decimal(scaled.numerator).scaleb(-18)
