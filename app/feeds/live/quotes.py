"""Poll quotes over REST: the schedule and the poller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.contracts import FeedName, Quote, RejectionRecord
from app.feeds.clock import Clock
from app.feeds.live.recorder import Recorder
from app.feeds.messages.quotes import as_json, quote_messages
from app.feeds.vendor import KeyRejected, ParseQuote, QuoteApi, RequestError
from app.market.sessions import Session, session_of

TRADELESS_MS, TRADING_MS, CLOSED_MS = 30_000, 120_000, 900_000
"""How often a quote is requested: for a symbol without live trades, with them, and in a closed
market.
"""
LIVE_MS = 60_000
"""A symbol whose last trade is not older than this has live trades."""
SKIP_MS, MAX_SKIP_MS = 300_000, 86_400_000
"""How long a symbol without a quote is skipped at first; the time doubles up to a day."""
_IDLE_MS = 1_000

log = logging.getLogger(__name__)


class QuoteSchedule:
    """Decides which symbol's quote is requested next: pure.

    The symbol that is most overdue relative to its interval comes first. Of symbols never
    requested, those without live trades come first.

    :param last_trade_ms: returns when a symbol traded last; None if never.
    """

    def __init__(self, feed: FeedName, last_trade_ms: Callable[[str], int | None]) -> None:
        self._feed = feed
        self._last_trade_ms = last_trade_ms
        self._asked_ms: dict[str, int] = {}

    def next(self, symbols: Sequence[str], now_ms: int) -> str | None:
        """Return the symbol to request now; None if none is due. It counts as requested."""
        due = {symbol: self._overdue(symbol, now_ms) for symbol in symbols}
        symbol = max(symbols, key=lambda s: due[s], default=None)
        if symbol is None or due[symbol] < (1.0, 0.0):
            return None
        self._asked_ms[symbol] = now_ms
        return symbol

    def _overdue(self, symbol: str, now_ms: int) -> tuple[float, float]:
        """Return how many intervals have passed, and how short the interval is."""
        interval_ms = self._interval_ms(symbol, now_ms)
        asked_ms = self._asked_ms.get(symbol)
        passed = float("inf") if asked_ms is None else (now_ms - asked_ms) / interval_ms
        return passed, 1 / interval_ms

    def _interval_ms(self, symbol: str, now_ms: int) -> int:
        if session_of(symbol, self._feed, now_ms).session is Session.CLOSED:
            return CLOSED_MS
        last_ms = self._last_trade_ms(symbol)
        live = last_ms is not None and now_ms - last_ms <= LIVE_MS
        return TRADING_MS if live else TRADELESS_MS


class _Skipped(NamedTuple):
    """A symbol that is not requested until `until_ms`, after a pause of `for_ms`."""

    until_ms: int
    for_ms: int


class QuotePoller:
    """Requests one quote after the other.

    A symbol that the vendor does not know, or whose quote it denies, is requested again after five
    minutes, and then at increasing intervals.

    :param symbols: returns the symbols to poll; called before each request.
    :param publish: receives each quote or rejection.
    :param last_trade_ms: returns when a symbol traded last; None if never.
    :param recorder: receives every response, if given.
    """

    def __init__(
        self,
        api: QuoteApi,
        parse: ParseQuote,
        symbols: Callable[[], Sequence[str]],
        *,
        feed: FeedName,
        source: str,
        clock: Clock,
        publish: Callable[[Quote | RejectionRecord], None],
        last_trade_ms: Callable[[str], int | None],
        recorder: Recorder | None = None,
    ) -> None:
        self._api = api
        self._parse = parse
        self._symbols = symbols
        self._feed = feed
        self._source = source
        self._clock = clock
        self._publish = publish
        self._recorder = recorder
        self._schedule = QuoteSchedule(feed, last_trade_ms)
        self._skipped: dict[str, _Skipped] = {}
        self._failing = False

    async def run(self) -> None:
        """Compare calendars, then poll until no API key is left."""
        await self._check_calendar()
        while self._api:
            symbols = self._symbols()
            now_ms = self._clock.now_ms()
            symbol = self._schedule.next(self._wanted(symbols, now_ms), now_ms)
            if symbol is None:
                await self._clock.sleep(_IDLE_MS)
                continue
            try:
                await self.poll(symbol)
            except Exception:  # an unexpected response must not end the polling
                log.exception("the quote of %s failed with an unexpected error", symbol)
        log.error("every API key is rejected for quotes; correct FINNHUB_API_KEY")

    async def poll(self, symbol: str) -> None:
        """Request one quote, with retries, and publish it."""
        try:
            payload = await self._api.quote(symbol)
        except RequestError as fault:
            self._give_up(symbol, fault)
            return
        self._failing = False
        now_ms = self._clock.now_ms()
        if self._recorder:
            self._recorder.quote(symbol, as_json(payload), now_ms)
        messages = quote_messages(
            payload,
            self._parse,
            symbol=symbol,
            feed=self._feed,
            source=self._source,
            received_at=now_ms,
        )
        for message in messages:
            self._publish(message)
        if not messages:
            self._skip(symbol, "the vendor does not know it")
        elif self._skipped.pop(symbol, None):
            log.info("there are quotes of %s again", symbol)

    async def _check_calendar(self) -> None:
        try:
            sentence = await self._api.calendar_disagreement()
        except RequestError as fault:
            log.warning("the market status could not be requested (%s)", fault)
            return
        if sentence is not None:
            log.warning("%s", sentence)

    def _give_up(self, symbol: str, fault: RequestError) -> None:
        if isinstance(fault, KeyRejected):
            return  # another key may succeed
        if fault.retry == "no":
            self._skip(symbol, str(fault))
        elif not self._failing:
            self._failing = True
            log.warning("no quote of %s (%s); it will be retried", symbol, fault)

    def _wanted(self, symbols: Sequence[str], now_ms: int) -> list[str]:
        """Return those of `symbols` that are not skipped now."""
        self._skipped = {s: left for s, left in self._skipped.items() if s in symbols}
        return [s for s in symbols if s not in self._skipped or self._skipped[s].until_ms <= now_ms]

    def _skip(self, symbol: str, why: str) -> None:
        before = self._skipped.get(symbol)
        for_ms = min(before.for_ms * 2, MAX_SKIP_MS) if before else SKIP_MS
        self._skipped[symbol] = _Skipped(self._clock.now_ms() + for_ms, for_ms)
        if before is None:
            log.warning(
                "no quotes of %s: %s. It is skipped for %d minutes, and then asked for ever more "
                "seldom; correct the symbols if it is misspelled.",
                symbol,
                why,
                for_ms // 60_000,
            )
