"""The page's HTML, with the data of its first view inside: the candles need no further request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from app.contracts import Interval
from app.dashboard.broadcast import event_id
from app.dashboard.page import Page
from app.dashboard.shown import ShownCandle
from app.dashboard.stream import newest_candles
from app.dashboard.summary import SymbolSummary

PLACE = b"</body>"


class FirstView(Struct, frozen=True):
    """What the page draws at first; the event stream continues after it."""

    symbols: list[str]
    status: dict[str, Any]
    symbol: str | None
    """the one asked for, or the first of all; null before the first candle"""
    interval: Interval
    summary: SymbolSummary | None
    candles: list[ShownCandle]
    has_older: bool
    """whether there may be candles before these"""
    event_id: str


def first_view(page: Page, asked: str | None, interval: Interval, server_id: str) -> FirstView:
    """The first view of `asked`, or of the first symbol if no candle of it has been seen.

    :param server_id: of this process, as in the ids of its events.
    """
    symbols = page.symbols()
    symbol = asked if asked in symbols else next(iter(symbols), None)
    candles, has_older, version = (
        newest_candles(page, symbol, interval) if symbol else ([], False, 0)
    )
    return FirstView(
        symbols=symbols,
        status=page.status(),
        symbol=symbol,
        interval=interval,
        summary=page.symbol_summary(symbol) if symbol else None,
        candles=candles,
        has_older=has_older,
        event_id=event_id(server_id, version),
    )


def with_first_view(html: bytes, view: FirstView) -> bytes:
    """`html` with `view` as JSON in it, in which no text can end the element."""
    json = msgspec.json.encode(view).replace(b"<", b"\\u003c")
    data = b'<script type="application/json" id="first-view">' + json + b"</script>\n"
    return html.replace(PLACE, data + PLACE, 1)
