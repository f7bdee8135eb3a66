"""A market that replays a trade file, shifted to the present."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from app.feeds.replay.trade_file import FileTrade, read_trades
from app.feeds.simulator.market.prints import Print, as_number
from app.feeds.simulator.market.quotes import UNKNOWN, DayQuote, QuoteBody

PAUSE_MS = 1_000
"""The pause between the end of the file and its next start."""


class Tape:
    """Plays a trade file in real time, with its original delays, and restarts at its end.

    All prints update the quotes, whether or not they are subscribed. Prints of one symbol keep
    their order of arrival. Prices have the precision of a double.

    :raises TradeFileError: the file cannot be read.
    """

    def __init__(self, path: Path, now_ms: int) -> None:
        self.at_ms = now_ms
        self._file = read_trades(path)
        self._first_t = min(span.first_t for span in self._file.spans.values())
        self._last_t = max(span.last_t for span in self._file.spans.values())
        self._quotes: dict[str, DayQuote] = {}
        self._recent: dict[str, Print] = {}
        self._begin(now_ms)

    @property
    def symbols(self) -> list[str]:
        """The symbols of the file, in order of appearance."""
        return list(self._file.spans)

    def step(self, end_ms: int, symbols: Collection[str]) -> list[Print]:
        self.at_ms = end_ms
        prints = []
        while self._clock_ms < end_ms:
            trade = self._next
            self._add(trade)
            if trade.s in symbols:
                prints.append(trade)
            self._advance()
        return prints

    def skip(self, now_ms: int) -> None:
        self.step(now_ms, ())

    def burst(self, count: int, symbols: Collection[str]) -> list[Print]:
        """Return `count` prints like the last of each symbol, with sizes varied by a few shares."""
        recent = [trade for s, trade in self._recent.items() if s in symbols]
        return [
            Print(item.c, item.p, item.s, self.at_ms - 1, item.v + number // len(recent))
            for number in range(count if recent else 0)
            for item in (recent[number % len(recent)],)
        ]

    def quote(self, symbol: str) -> QuoteBody:
        quote = self._quotes.get(symbol)
        return quote.body() if quote else UNKNOWN

    def _begin(self, now_ms: int) -> None:
        self._shift_ms = now_ms - self._first_t
        self._trades: Iterator[FileTrade] = self._file.interleaved()
        self._clock_ms = now_ms
        self._advance()

    def _advance(self) -> None:
        """Fetch the next trade. It is due at the largest time among the trades so far."""
        trade = next(self._trades, None)
        if trade is None:
            self._begin(self._last_t + self._shift_ms + PAUSE_MS)
            return
        t = trade.t + self._shift_ms
        self._clock_ms = max(self._clock_ms, t)
        self._next = Print(
            trade.c, as_number(float(trade.p)), trade.symbol, t, as_number(float(trade.v))
        )

    def _add(self, trade: Print) -> None:
        if trade.s not in self._quotes:
            self._quotes[trade.s] = DayQuote(trade.p, trade.t)
        self._quotes[trade.s].add(trade)
        self._recent[trade.s] = trade
