"""A second vendor feeds the pipeline: `docs/feeds.md`, followed by a vendor of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from random import Random
from typing import Any

from app.contracts import (
    FeedName,
    Message,
    Quote,
    Rejection,
    RejectionRecord,
    Trade,
    Trades,
    Watermark,
    conditions_of,
)
from app.feeds.clock import Clock
from app.feeds.live.connection import FeedConnection
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.messages.outgoing import Outgoing
from app.feeds.vendor import (
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    IgnoredFrame,
    OnDate,
    ParsedTrade,
    QuoteApi,
    RejectedFrame,
    RequestError,
    TradesFrame,
    Unavailable,
    Vendor,
)
from app.message_parser import in_range
from tests.virtual_time import LoopClock, run
from topologies.backfill import Backfill
from topologies.core.candle import Rules

M = 1_780_000_020_000


class PipeVendor:
    """A vendor whose frames are lines: `T|symbol|t|price|size`, `H`, `E|text`, or something else.

    It streams `frames`, one a second, through one connection, which then ends.
    """

    connections = 1

    def __init__(self, frames: Iterable[bytes]) -> None:
        self.frames = list(frames)
        self.requested: list[str] = []

    def parse_frame(self, raw: bytes) -> Frame:
        lines = raw.decode(errors="replace").splitlines()
        match lines[0].split("|") if lines else []:
            case ["H"]:
                return HeartbeatFrame()
            case ["E", text]:
                return ErrorFrame(text)
            case ["T", *_]:
                return self._trades(lines)
            case [kind, *_]:
                return IgnoredFrame(kind)
        return RejectedFrame(Rejection("schema", "the frame is empty"))

    def _trades(self, lines: list[str]) -> TradesFrame:
        trades, invalid = [], []
        for index, line in enumerate(lines):
            try:
                _, symbol, t, p, v = line.split("|")
                trade = Trade(int(t), Decimal(p), Decimal(v), None, i=index)
            except (ValueError, ArithmeticError):
                invalid.append(index)
                continue
            if not in_range(trade):
                invalid.append(index)
                continue
            identity = (symbol, trade.t, trade.p, trade.v, conditions_of(None))
            trades.append(ParsedTrade(symbol, trade, identity))
        rejected = [Rejection("schema", "a trade is malformed", tuple(invalid))] if invalid else []
        return TradesFrame(trades, rejected, len(lines))

    def parse_quote(
        self, payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
    ) -> Quote | Rejection | None:
        return None

    async def connect(self, number: int) -> PipeSocket:
        if not self.frames:
            raise Unavailable("the vendor has nothing more to stream")
        return PipeSocket(self)

    def quotes(self, clock: Clock, rng: Random, on_date: OnDate) -> QuoteApi:
        return NoQuotes()


class PipeSocket:
    feed = None
    date_ms = None

    def __init__(self, vendor: PipeVendor) -> None:
        self._vendor = vendor

    async def subscribe(self, symbols: Iterable[str]) -> None:
        self._vendor.requested += symbols

    async def unsubscribe(self, symbols: Iterable[str]) -> None: ...

    async def frames(self) -> AsyncIterator[bytes]:
        while self._vendor.frames:
            await asyncio.sleep(1)
            yield self._vendor.frames.pop(0)
        raise Unavailable("the connection ended")

    def abort(self) -> None: ...

    async def close(self) -> None: ...


class NoQuotes:
    def __bool__(self) -> bool:
        return False

    async def quote(self, symbol: str) -> Any:
        raise RequestError("this vendor has no quotes", "no")

    async def calendar_disagreement(self) -> str | None:
        return None


def _stream(vendor: Vendor, symbols: tuple[str, ...], seconds: int) -> list[Outgoing]:
    """Return what a session makes of the vendor's connection and of the seconds that pass."""
    made: list[Outgoing] = []

    async def work() -> None:
        clock = LoopClock(M)
        session = FeedSession(
            SessionConfig(
                feed="simulated", source="pipe", grace_ms=5_000, allowed_lateness_ms=900_000
            ),
            symbols=symbols,
            clock=clock,
            parse_frame=vendor.parse_frame,
        )
        may_read = asyncio.Event()
        may_read.set()
        connection = FeedConnection(
            vendor,
            1,
            feed="simulated",
            session=session,
            clock=clock,
            rng=Random(1),
            offer=made.extend,
            may_read=may_read,
            on_feed=lambda: None,
            on_date=lambda *_: None,
        )
        connection.symbols = symbols
        running = asyncio.create_task(connection.run())
        for _ in range(seconds):
            await clock.sleep(1_000)
            made.extend(session.each_second())
        await connection.end()
        running.cancel()

    run(work())
    return made


def test_a_vendor_of_sixty_connections_makes_candles() -> None:
    trades = [
        b"T|ABC|%d|10.5|100\nT|XYZ|%d|7|3" % (M + 1_000, M + 1_500),
        b"T|ABC|%d|11|50\nT|ABC|now|11|1" % (M + 2_000),
        b"E|the vendor has hiccups",
        b"N|news",
        b"",
        b"T|ABC|%d|9.25|10" % (M + 5_900),
    ]
    vendor = PipeVendor([*trades, *[b"H"] * 70])
    made = _stream(vendor, ("ABC", "XYZ"), 80)
    assert vendor.requested == ["ABC", "XYZ"]
    assert sum(len(item.trades) for item in made if isinstance(item, Trades)) == 4
    rejected = [item for item in made if isinstance(item, RejectionRecord)]
    assert [(item.reason, item.indices) for item in rejected] == [("schema", [1]), ("schema", None)]
    coverage = {
        item.symbol: item.covered_ms
        for item in made
        if isinstance(item, Watermark) and item.minute_start == M and item.received_at >= M + 65_000
    }
    assert coverage == {"ABC": 60_000, "XYZ": 60_000}

    messages: list[Message] = [item for item in made if not isinstance(item, RejectionRecord)]
    records = Backfill(Rules("simulated", "sip", 5_000, 900_000)).records(messages)
    candles = {record.symbol: record for record in records if record.window_start == M}
    abc = candles["ABC"]
    assert (abc.open, abc.high, abc.low, abc.close) == (
        Decimal("10.5"),
        Decimal(11),
        Decimal("9.25"),
        Decimal("9.25"),
    )
    assert (abc.volume, candles["XYZ"].volume) == (Decimal(160), Decimal(3))
