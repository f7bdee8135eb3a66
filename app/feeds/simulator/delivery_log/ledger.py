"""Compute which delivered trades count, independently of the rules in `docs/topology.md`.

Without trade ids a client has only the identity rules to distinguish a repeat from a genuine equal
trade. The ledger applies these rules, and reports where they are wrong, because it knows what the
server sent.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from app.contracts import FUTURE_MS
from app.feeds.simulator.delivery_log.log import Arrived, Delivery, Ended, Opened, Sent

RING_FRAMES = 64
FULL_FRAME_TRADES = 10
MINUTE_MS = 60_000
KEEP_MS = 905_000
"""The default allowed lateness + grace of candles."""

Identity = tuple[str, int, Decimal, Decimal, tuple[str, ...]]


class Counted(NamedTuple):
    """A delivered trade that counts."""

    symbol: str
    t: int
    p: Decimal
    v: Decimal
    c: list[str] | None
    k: int
    at_ms: int
    """When its frame was sent."""


class LedgerEntry(NamedTuple):
    """The evaluation of a frame's trades."""

    counted: list[Counted]
    unseen: list[int]
    """Indices of genuine trades that the rules take for repeats."""
    doubled: list[int]
    """Indices of repeats that the rules take for new trades."""


class _RepeatCounters:
    """Counts how often each party has sent each trade, and the largest count of any party.

    Trades are represented by hashes. Those of a minute are discarded when no candle accepts them
    any more.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, dict[int, int]] = {}

    def add(self, party: int, identity: Identity, now_ms: int) -> tuple[int, bool]:
        """Count a trade.

        :returns: how often `party` had sent it before, and whether no party had sent it more often.
        """
        minute = identity[1] // MINUTE_MS
        counts = self._minutes.get(minute)
        if counts is None:
            counts = self._begin(minute, now_ms)
        own, most = hash((party, identity)), hash(identity)
        k = counts.get(own, 0)
        counts[own] = k + 1
        if k < counts.get(most, 0):
            return k, False
        counts[most] = k + 1
        return k, True

    def _begin(self, minute: int, now_ms: int) -> dict[int, int]:
        for old in [m for m in self._minutes if (m + 1) * MINUTE_MS + KEEP_MS < now_ms]:
            del self._minutes[old]
        return self._minutes.setdefault(minute, {})


class _OpenConnection(NamedTuple):
    """An open connection, and its last frames."""

    key: int
    ring: deque[str]


class DeliveryLedger:
    """Evaluates frames in the order in which they are sent."""

    def __init__(self) -> None:
        self._connections: dict[int, _OpenConnection] = {}
        self._by_connection = _RepeatCounters()
        self._genuine_by_key = _RepeatCounters()

    def opened(self, connection: int, key: int) -> None:
        """Add a connection; connections of the same key belong to one client."""
        self._connections[connection] = _OpenConnection(key, deque(maxlen=RING_FRAMES))

    def ended(self, connection: int) -> None:
        """Remove a connection."""
        self._connections.pop(connection, None)

    def evaluate(self, sent: Sent) -> LedgerEntry:
        """Return the trades of a frame that count, and where the rules are wrong about it."""
        rows = [] if sent.broken else _trades(sent.raw)
        if rows is None:
            return LedgerEntry([], [], [])
        connection = self._connections[sent.connection]
        trades = [(i, row, _identity(row)) for i, row in enumerate(rows) if i not in sent.bad]
        dropped = sent.raw in connection.ring and not _full_of_equals(rows, trades)
        if not sent.broken:
            connection.ring.append(sent.raw)
        entry = LedgerEntry([], [], [])
        for i, row, identity in trades:
            counts = False
            if not dropped:
                k, counts = self._by_connection.add(sent.connection, identity, sent.at_ms)
            if counts:
                entry.counted.append(_counted(row, identity, k, sent.at_ms))
            if sent.repeat:
                entry.doubled.extend([i] if counts else [])
                continue
            _, is_new = self._genuine_by_key.add(connection.key, identity, sent.at_ms)
            if is_new and not counts:  # it is not just another client's copy
                entry.unseen.append(i)
        return entry


class AnnotatedLog:
    """Forwards deliveries, marking in each frame where the identity rules are wrong.

    :ivar counts: counters of frames, unseen and doubled.
    """

    def __init__(self, write: Callable[[Delivery], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._write = write
        self._ledger = DeliveryLedger()

    def record(self, delivery: Delivery) -> None:
        match delivery:
            case Opened():
                self._ledger.opened(delivery.connection, delivery.key)
            case Ended():
                self._ledger.ended(delivery.connection)
            case Sent():
                entry = self._ledger.evaluate(delivery)
                delivery.unseen, delivery.doubled = entry.unseen, entry.doubled
                self.counts.update(frames=1, unseen=len(entry.unseen), doubled=len(entry.doubled))
        self._write(delivery)


class ExpectedTrades(NamedTuple):
    """The trades that must be in the candles according to a delivery log."""

    trades: list[Counted]
    """In the order of delivery."""
    future: list[Counted]
    """Trades that would count, but carry a time more than a minute ahead."""
    genuine: int
    """Number of trades that were sent and are not repeats."""
    repeats: int
    unseen: int
    doubled: int
    unconfirmed: int
    """Number of frames sent but not confirmed as read; none of their trades is in `trades`."""


def expected_trades(deliveries: Iterable[Delivery]) -> ExpectedTrades:
    """Return what must be in the candles: the trades that count, among those that were read."""
    log = list(deliveries)
    confirmed = {
        delivery.connection: delivery.frame for delivery in log if isinstance(delivery, Arrived)
    }
    ledger = DeliveryLedger()
    trades: list[Counted] = []
    future: list[Counted] = []
    counts: Counter[str] = Counter()
    for delivery in log:
        match delivery:
            case Opened():
                ledger.opened(delivery.connection, delivery.key)
            case Ended():
                ledger.ended(delivery.connection)
            case Sent() if delivery.frame > confirmed.get(delivery.connection, 0):
                counts["unconfirmed"] += 1
            case Sent():
                entry = ledger.evaluate(delivery)
                for trade in entry.counted:
                    (future if trade.t > trade.at_ms + FUTURE_MS else trades).append(trade)
                counts["unseen"] += len(entry.unseen)
                counts["doubled"] += len(entry.doubled)
                counts["repeats" if delivery.repeat else "genuine"] += _size(delivery)
    return ExpectedTrades(
        trades,
        future,
        counts["genuine"],
        counts["repeats"],
        counts["unseen"],
        counts["doubled"],
        counts["unconfirmed"],
    )


def _size(sent: Sent) -> int:
    rows = None if sent.broken else _trades(sent.raw)
    return 0 if rows is None else len(rows) - len(sent.bad)


def _trades(raw: str) -> list[Any] | None:
    """Return the entries of a frame of trades; None for any other frame."""
    frame = json.loads(raw, parse_float=Decimal)
    rows: list[Any] | None = frame.get("data")
    return rows


def _identity(row: dict[str, Any]) -> Identity:
    codes = tuple(sorted(row.get("c") or ()))
    return row["s"], row["t"], round(Decimal(row["p"]), 12), round(Decimal(row["v"]), 12), codes


def _counted(row: dict[str, Any], identity: Identity, k: int, at_ms: int) -> Counted:
    return Counted(row["s"], row["t"], identity[2], identity[3], row.get("c"), k, at_ms)


def _full_of_equals(rows: list[Any], trades: list[tuple[int, Any, Identity]]) -> bool:
    """Return whether a frame is part of a longer sweep, so that an equal frame is new."""
    complete = len(trades) == len(rows) >= FULL_FRAME_TRADES
    return complete and len({identity for _, _, identity in trades}) == 1
