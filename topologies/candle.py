"""What a one-minute candle is: the pure core, without Kafka, clock or I/O.

`SymbolCandles` holds one symbol's open minutes and is fed the messages of `stocks-topic` in their
order. The same messages give the same records, whatever the speed and wherever the run was
interrupted. Rules: `docs/topology.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import Struct, field

from app.contracts import (
    EXACT,
    NOTIONAL_DECIMALS,
    NOTIONAL_STEP,
    PRICE_DECIMALS,
    SCHEMA_VERSION,
    Candle,
    Message,
    Quote,
    Trade,
    Trades,
    Watermark,
    conditions_of,
)
from app.market.conditions import ODD_LOT as ODD_LOT_CODE
from app.market.conditions import PriceClass, eligibility
from app.market.sessions import Session, session_of

MINUTE_MS = 60_000
FUTURE_MS = 60_000
"""A trade stamped further ahead of its arrival than this is rejected."""
SOURCE_TIMEOUT_MS = 150_000
"""A source falls out when another has moved on this far since its last watermark."""
PARTIAL_EVERY_MS = 100
NEVER = 1 << 62
MAX_MEANINGS = 10_000

Status = Literal["partial", "final", "revised"]
Identity = tuple[int, Decimal, Decimal, tuple[str, ...], int]
"""(t, p, v, conditions, k): what makes a print of a symbol the same print."""

_ZERO = Decimal(0)
_ONE = Decimal(1)
_NO_PRICE = PriceClass.QUOTE + 1
_LAST, _HIGH_LOW, _QUOTE = int(PriceClass.LAST), int(PriceClass.HIGH_LOW), int(PriceClass.QUOTE)
_SCALES_APART: int = 10 ** (NOTIONAL_DECIMALS - PRICE_DECIMALS)
_add, _multiply, _quantize = EXACT.add, EXACT.multiply, EXACT.quantize


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the candle: which feed, how long to wait, which trades set prices."""

    feed: Literal["live", "simulated", "replay"]
    price_rule: Literal["sip", "all"] = "sip"
    grace_ms: int = 5_000
    horizon_ms: int = 900_000


class Rejection(NamedTuple):
    """Trades of one message that were refused; None stands for the whole message."""

    reason: Literal["late", "future"]
    detail: str
    indices: tuple[int, ...] | None


class Outcome(NamedTuple):
    """What one message led to: records for candles-1m, partial candles, rejections."""

    records: list[Candle]
    partials: list[Candle]
    rejections: list[Rejection]


NOTHING = Outcome([], [], [])


class Window(Struct, array_like=True):
    """One minute of one symbol while it is open: sums, prices, counts."""

    start: int
    session: Session
    session_date: str
    first_offset: int
    last_offset: int
    price_class: int = _NO_PRICE
    open: Decimal = _ZERO
    high: Decimal = _ZERO
    low: Decimal = _ZERO
    close: Decimal = _ZERO
    open_time: int = 0
    high_time: int = 0
    low_time: int = 0
    close_time: int = 0
    volume: Decimal = _ZERO
    notional: Decimal = _ZERO
    trade_count: int = 0
    eligible_count: int = 0
    odd_lot_count: int = 0
    odd_lot_volume: Decimal = _ZERO
    zero_volume_count: int = 0
    late_count: int = 0
    out_of_order_count: int = 0
    duplicate_count: int = 0
    revision: int = -1
    """Of the newest record; -1: none yet, the minute is open."""
    chunks: int = 0
    """Of identities in the store."""
    quote_times: set[int] = field(default_factory=set)

    def price(self, price_class: int, t: int, p: Decimal) -> bool:
        """Let a price count as far as its class may; True when anything changed."""
        best = self.price_class
        if price_class == best and t > self.close_time and self.low < p < self.high:
            self.close, self.close_time = p, t
            return True
        if price_class > best:
            if price_class == _HIGH_LOW:  # open and close stay with the better class
                return self._extend(t, p)
            return False
        if price_class < best:
            self.price_class = price_class
            self.open = self.close = p
            self.open_time = self.close_time = t
            if best == _HIGH_LOW:  # trades for last are trades for high and low
                self._extend(t, p)
            else:
                self.high = self.low = p
                self.high_time = self.low_time = t
            return True
        changed = False
        if t < self.open_time:
            self.open, self.open_time = p, t
            changed = True
        if t > self.close_time or (t == self.close_time and p != self.close):
            self.close, self.close_time = p, t
            changed = True
        return self._extend(t, p) or changed

    def _extend(self, t: int, p: Decimal) -> bool:
        """Let `p` widen the range; of equal prices the earliest tells the time."""
        changed = False
        if p > self.high or (p == self.high and t < self.high_time):
            self.high, self.high_time = p, t
            changed = True
        if p < self.low or (p == self.low and t < self.low_time):
            self.low, self.low_time = p, t
            changed = True
        return changed


class Identities:
    """The prints of one open minute that were accepted, and those of them not yet in the store."""

    __slots__ = ("fresh", "seen")

    def __init__(self) -> None:
        self.seen: set[Identity] = set()
        self.fresh: list[Identity] = []


class Meaning(NamedTuple):
    """What the conditions of a trade mean for a candle of one session under one price rule."""

    codes: tuple[str, ...]
    """Normalised, as they stand in a trade's identity."""
    price_class: int
    zero_volume_class: int
    counts: bool
    odd_lot: bool
    unknown: bool

    @classmethod
    def of(cls, raw: tuple[str, ...], session: Session, price_rule: str) -> Meaning:
        """Rule `all`: every trade sets everything; rule `sip`: as the tape says."""
        codes = conditions_of(list(raw))
        if price_rule == "all":
            return cls(codes, _LAST, _LAST, True, ODD_LOT_CODE in codes, False)
        price_class, counts, odd_lot, unknown = eligibility(codes, session)
        return cls(codes, int(price_class), _QUOTE, counts, odd_lot, unknown)


class Sources(Struct, array_like=True):
    """The newest watermark of each source of a symbol, and what they make together."""

    t: dict[str, int] = field(default_factory=dict)
    others_then: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each source, how far the others were at its own last watermark."""

    def tell(self, source: str, t: int) -> None:
        """Take a watermark of `source`; sources that others left behind fall out."""
        self.t[source] = t
        self.others_then[source] = {other: at for other, at in self.t.items() if other != source}
        for other, then in list(self.others_then.items()):
            if other == source:
                continue
            if t - then.setdefault(source, t) >= SOURCE_TIMEOUT_MS:
                del self.t[other], self.others_then[other]
                for remaining in self.others_then.values():
                    remaining.pop(other, None)

    def watermark(self) -> int:
        """Where all sources have passed; 0 when none has told anything."""
        return min(self.t.values(), default=0)


class SymbolCandles:
    """The open minutes of one symbol, fed with its messages in the order of the topic."""

    __slots__ = (
        "changed",
        "coverage",
        "due",
        "gone",
        "identities",
        "largest_t",
        "moved_t",
        "next_due_ms",
        "partial_slot",
        "rules",
        "sources",
        "symbol",
        "tally",
        "touched",
        "watermark",
        "windows",
    )

    def __init__(self, symbol: str, rules: Rules, tally: Counter[str]) -> None:
        self.symbol = symbol
        self.rules = rules
        self.tally = tally
        """Counts, by kind, of what changes no candle; shared by all symbols of a worker."""
        self.windows: dict[int, Window] = {}
        self.identities: dict[int, Identities] = {}
        self.coverage: dict[int, dict[str, int]] = {}
        """By minute's start: ms covered, by source."""
        self.sources = Sources()
        self.largest_t = 0
        self.moved_t = 0
        """Largest min(t, received_at) of accepted and duplicate trades."""
        self.watermark = 0
        self.partial_slot = -1
        """received_at // 100 of the message that last wrote partials."""
        self.changed: set[int] = set()
        """Starts of open windows changed since their last partial."""
        self.due: set[int] = set()
        """Starts of final windows whose next revision is due; empty between messages."""
        self.next_due_ms = NEVER
        """The watermark at which the next window becomes final or is dropped."""
        self.touched: set[int] = set()
        """Starts of windows changed since the last save."""
        self.gone: list[tuple[int, int]] = []
        """(start, chunks) of windows dropped since the last save."""

    def apply(self, message: Message, offset: int, places: tuple[int, ...] | None) -> Outcome:
        """Take one message and say what it led to.

        :param offset: of the message in its partition.
        :param places: where its trades stood in the original message; None: as they stand.
        """
        rejections: list[Rejection] = []
        kind = type(message)
        if kind is Trades:
            self._trades(message, offset, places, rejections)  # type: ignore[arg-type]
        elif kind is Watermark:
            self._watermark(message, offset)  # type: ignore[arg-type]
        else:
            self._quote(message, offset, rejections)  # type: ignore[arg-type]
        target = max(self.moved_t - self.rules.grace_ms, self.sources.watermark())
        if target > self.watermark:
            self.watermark = target
        records: list[Candle] = []
        if self.due or self.watermark >= self.next_due_ms:
            records = self._records()
        partials: list[Candle] = []
        if self.changed and message.received_at // PARTIAL_EVERY_MS != self.partial_slot:
            self.partial_slot = message.received_at // PARTIAL_EVERY_MS
            partials = self._partials()
        if records or partials or rejections:
            return Outcome(records, partials, rejections)
        return NOTHING

    def _trades(
        self,
        message: Trades,
        offset: int,
        places: tuple[int, ...] | None,
        rejections: list[Rejection],
    ) -> None:
        received_at = message.received_at
        latest = received_at + FUTURE_MS
        late: list[int] = []
        future: list[int] = []
        window: Window | None = None
        start = touched = -1
        for index, trade in enumerate(message.trades):
            t, c = trade.t, trade.c
            if t > latest:
                future.append(index)
                continue
            if not start <= t < start + MINUTE_MS:  # mostly, trades of a message share a minute
                start = t - t % MINUTE_MS
                window = self.windows.get(start)
            raw = tuple(c) if c else ()
            if window is None:
                if not self._meaning(raw, Session.REGULAR).counts:
                    self.tally["not_a_trade"] += 1
                    continue
                window = self._open(start, offset)
                if window is None:
                    late.append(index)
                    continue
            meaning = self._meaning(raw, window.session)
            if not meaning.counts:
                self.tally["not_a_trade"] += 1
                continue
            identities = self.identities[start]
            identity = (t, trade.p, trade.v, meaning.codes, trade.k)
            known = len(identities.seen)
            identities.seen.add(identity)
            if len(identities.seen) == known:
                window.duplicate_count += 1
            else:
                identities.fresh.append(identity)
                self._accept(window, trade, meaning)
            if touched != start:
                touched = start
                self._touch(window, offset)
            arrived = t if t < received_at else received_at
            if arrived > self.moved_t:
                self.moved_t = arrived
        if late:
            rejections.append(Rejection("late", _LATE, _original(late, places)))
        if future:
            rejections.append(Rejection("future", _FUTURE, _original(future, places)))

    def _accept(self, window: Window, trade: Trade, meaning: Meaning) -> None:
        """Count a trade that is seen for the first time."""
        t, p, v = trade.t, trade.p, trade.v
        if t < self.largest_t:
            window.out_of_order_count += 1
        else:
            self.largest_t = t
        if meaning.unknown:
            self.tally["unknown_condition"] += 1
        if window.revision >= 0:
            window.late_count += 1
            self.due.add(window.start)
        if not v:
            window.zero_volume_count += 1
            window.price(meaning.zero_volume_class, t, p)
            return
        window.trade_count += 1
        window.volume = _add(window.volume, v)
        window.notional = _add(window.notional, _quantize(_multiply(p, v), NOTIONAL_STEP))
        if meaning.odd_lot:
            window.odd_lot_count += 1
            window.odd_lot_volume = _add(window.odd_lot_volume, v)
        price_class = meaning.price_class
        if price_class == _LAST:
            window.eligible_count += 1
        window.price(price_class, t, p)

    def _meaning(self, raw: tuple[str, ...], session: Session) -> Meaning:
        """What a trade's conditions mean in a minute of `session`, worked out once."""
        meanings = _MEANINGS[self.rules.price_rule][session]
        meaning = meanings.get(raw)
        if meaning is None:
            if len(meanings) >= MAX_MEANINGS:
                meanings.clear()
            meaning = meanings[raw] = Meaning.of(raw, session, self.rules.price_rule)
        return meaning

    def _quote(self, quote: Quote, offset: int, rejections: list[Rejection]) -> None:
        t = quote.t * 1000
        if t > quote.received_at + FUTURE_MS:
            rejections.append(Rejection("future", _FUTURE, None))
            return
        start = t - t % MINUTE_MS
        window = self.windows.get(start)
        if window is None and quote.c > 0:
            window = self._open(start, offset)
        if window is None or quote.c <= 0:
            self.tally["unusable_quote"] += 1
            return
        if t in window.quote_times:
            self.tally["repeated_quote"] += 1
            return
        window.quote_times.add(t)
        self.touched.add(start)
        if window.price(_QUOTE, t, quote.c):
            self._touch(window, offset)
            if window.revision >= 0:
                self.due.add(window.start)

    def _watermark(self, message: Watermark, offset: int) -> None:
        start = message.minute_start
        if start is not None and message.covered_ms is not None and not self._is_past(start):
            before = self._covered(start)
            self.coverage.setdefault(start, {})[message.source] = message.covered_ms
            self.next_due_ms = min(self.next_due_ms, start + MINUTE_MS + self.rules.horizon_ms)
            window = self.windows.get(start)
            if window is not None and window.revision >= 0 and self._covered(start) != before:
                self.due.add(start)
                self._touch(window, offset)
        self.sources.tell(message.source, message.t)

    def _covered(self, start: int) -> int | None:
        told = self.coverage.get(start)
        return max(told.values()) if told else None

    def _is_past(self, start: int) -> bool:
        """Whether the minute from `start` can change no more."""
        return self.watermark >= start + MINUTE_MS + self.rules.horizon_ms

    def _open(self, start: int, offset: int) -> Window | None:
        """Open the minute from `start`; None when it is past."""
        if self._is_past(start):
            return None
        session, session_date = session_of(self.symbol, self.rules.feed, start)
        window = self.windows[start] = Window(start, session, session_date, offset, offset)
        self.identities[start] = Identities()
        self.next_due_ms = min(self.next_due_ms, start + MINUTE_MS)
        return window

    def _touch(self, window: Window, offset: int) -> None:
        window.last_offset = offset
        self.touched.add(window.start)
        if window.revision < 0:
            self.changed.add(window.start)

    def _records(self) -> list[Candle]:
        """Records that are due by now, in order of their minutes; drops what is past."""
        watermark = self.watermark
        records = []
        for start in sorted(self.windows):
            window = self.windows[start]
            if window.revision < 0 and watermark >= start + MINUTE_MS:
                window.revision = 0
                self.changed.discard(start)
                self.touched.add(start)
                records.append(self._candle(window, "final"))
            elif start in self.due:
                window.revision += 1
                records.append(self._candle(window, "revised"))
        self.due.clear()
        if watermark >= self.next_due_ms:
            self._drop_past()
        return records

    def _drop_past(self) -> None:
        for start in [start for start in self.windows if self._is_past(start)]:
            self.gone.append((start, self.windows.pop(start).chunks))
            del self.identities[start]
            self.touched.discard(start)
        for start in [start for start in self.coverage if self._is_past(start)]:
            del self.coverage[start]
        self.schedule()

    def schedule(self) -> None:
        """Work out at which watermark the next window becomes final or is dropped."""
        past = MINUTE_MS + self.rules.horizon_ms
        self.next_due_ms = min(
            (s + (past if w.revision >= 0 else MINUTE_MS) for s, w in self.windows.items()),
            default=NEVER,
        )
        if self.coverage:
            self.next_due_ms = min(self.next_due_ms, min(self.coverage) + past)

    def _partials(self) -> list[Candle]:
        partials = []
        for start in sorted(self.changed):
            partials.append(self._candle(self.windows[start], "partial"))
        self.changed.clear()
        return partials

    def _candle(self, window: Window, status: Status) -> Candle:
        start = window.start
        return Candle(
            candle_id=f"{self.symbol}|1m|{start}",
            symbol=self.symbol,
            feed=self.rules.feed,
            interval="1m",
            window_start=start,
            window_end=start + MINUTE_MS,
            session=window.session.value,
            session_date=window.session_date,
            open=canonical(window.open),
            high=canonical(window.high),
            low=canonical(window.low),
            close=canonical(window.close),
            open_time=window.open_time,
            high_time=window.high_time,
            low_time=window.low_time,
            close_time=window.close_time,
            volume=canonical(window.volume),
            notional=canonical(window.notional),
            vwap=vwap(window.notional, window.volume),
            trade_count=window.trade_count,
            eligible_count=window.eligible_count,
            odd_lot_count=window.odd_lot_count,
            odd_lot_volume=canonical(window.odd_lot_volume),
            zero_volume_count=window.zero_volume_count,
            price_source=_PRICE_SOURCE[window.price_class],
            late_count=window.late_count,
            out_of_order_count=window.out_of_order_count,
            duplicate_count=window.duplicate_count,
            first_offset=window.first_offset,
            last_offset=window.last_offset,
            covered_ms=self._covered(start),
            revision=None if status == "partial" else window.revision,
            status=status,
            price_rule=self.rules.price_rule,
            schema_version=SCHEMA_VERSION,
        )


MARKET_FIELDS: tuple[str, ...] = (
    "symbol",
    "feed",
    "interval",
    "window_start",
    "window_end",
    "session",
    "session_date",
    "open",
    "high",
    "low",
    "close",
    "open_time",
    "high_time",
    "low_time",
    "close_time",
    "volume",
    "notional",
    "vwap",
    "trade_count",
    "eligible_count",
    "odd_lot_count",
    "odd_lot_volume",
    "zero_volume_count",
    "price_source",
)
"""A function of the set of accepted trades (ties in order) alone."""

_PRICE_SOURCE: dict[int, Literal["last", "high_low", "ineligible", "quote"]] = {
    PriceClass.LAST: "last",
    PriceClass.HIGH_LOW: "high_low",
    PriceClass.INELIGIBLE: "ineligible",
    PriceClass.QUOTE: "quote",
}
_MEANINGS: dict[str, dict[Session, dict[tuple[str, ...], Meaning]]] = {
    price_rule: {session: {} for session in Session} for price_rule in ("sip", "all")
}
"""A table that fills itself: the same few combinations of conditions come again and again."""
_LATE = "the watermark had passed the end of the trade's minute by the horizon"
_FUTURE = f"the time lies more than {FUTURE_MS // 1000} s ahead of received_at"


def market_fields(candle: Candle) -> tuple[object, ...]:
    """The values of `MARKET_FIELDS` of a candle."""
    return tuple(getattr(candle, name) for name in MARKET_FIELDS)


def vwap(notional: Decimal, volume: Decimal) -> float | None:
    """The nearest double to notional / volume; None at volume 0."""
    if not volume:
        return None
    scaled_notional = int(EXACT.scaleb(notional, NOTIONAL_DECIMALS))
    scaled_volume = int(EXACT.scaleb(volume, PRICE_DECIMALS)) * _SCALES_APART
    return scaled_notional / scaled_volume  # of integers: rounded once, correctly


def canonical(number: Decimal) -> Decimal:
    """`number` in the one form that equal numbers share: no trailing zeros, no exponent above 0."""
    if number == number.to_integral_value():
        return _quantize(number, _ONE)
    return number.normalize(EXACT)


def newest(records: Iterable[Candle]) -> dict[str, Candle]:
    """The last revision of each candle, by candle_id."""
    best: dict[str, Candle] = {}
    for candle in records:
        known = best.get(candle.candle_id)
        if known is None or (candle.revision or 0) >= (known.revision or 0):
            best[candle.candle_id] = candle
    return best


def _original(indices: list[int], places: tuple[int, ...] | None) -> tuple[int, ...]:
    return tuple(indices) if places is None else tuple(places[i] for i in indices)
