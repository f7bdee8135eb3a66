"""Finnhub as a vendor (`app.feeds.vendor`): connections, quotes and parsers from the settings."""

from __future__ import annotations

from random import Random
from typing import Any

from app.contracts import FeedName, Quote, Rejection
from app.feeds.clock import Clock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.finnhub.market_status import EXCHANGE, disagreement
from app.feeds.finnhub.profiles import Profile, parse_profile
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import FinnhubRest, RestCalls
from app.feeds.finnhub.websocket import FinnhubSocket, open_socket
from app.feeds.vendor import Frame, OnDate, RequestError
from app.settings import Settings


class FinnhubParser:
    """Parses Finnhub's frames and quotes."""

    def parse_frame(self, raw: bytes) -> Frame:
        return parse_frame(raw)

    def parse_quote(
        self, payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
    ) -> Quote | Rejection | None:
        return parse_quote(
            payload, symbol=symbol, feed=feed, source=source, received_at=received_at
        )


class Finnhub(FinnhubParser):
    """Connections and quotes with the addresses and API keys in `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def connections(self) -> int:
        return len(self._settings.finnhub_keys)

    async def connect(self, number: int) -> FinnhubSocket:
        keys = self._settings.finnhub_keys
        return await open_socket(self._settings.finnhub_websocket_url, keys[number - 1], keys)

    def quotes(self, clock: Clock, rng: Random, on_date: OnDate) -> FinnhubQuotes:
        calls = self._calls(clock, rng, on_date)
        return FinnhubQuotes(calls, self._settings.tickhouse_feed, clock)

    def profiles(self, clock: Clock, rng: Random) -> FinnhubProfiles:
        return FinnhubProfiles(self._calls(clock, rng))

    def _calls(self, clock: Clock, rng: Random, on_date: OnDate | None = None) -> RestCalls:
        keys = self._settings.finnhub_keys
        url = self._settings.finnhub_rest_url
        apis = [(FinnhubRest(url, key, keys), CallBudget()) for key in keys]
        return RestCalls(apis, clock, rng, on_date=on_date)


class FinnhubQuotes:
    """Requests quotes and the market status from Finnhub's REST API."""

    def __init__(self, calls: RestCalls, feed: FeedName, clock: Clock) -> None:
        self._calls = calls
        self._feed = feed
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._calls)

    async def quote(self, symbol: str) -> Any:
        return await self._calls.request(lambda api: api.quote(symbol))

    async def calendar_disagreement(self) -> str | None:
        status = await self._calls.request(lambda api: api.market_status(EXCHANGE))
        return disagreement(status, self._feed, self._clock.now_ms())


class FinnhubProfiles:
    """Requests company profiles from Finnhub's REST API."""

    def __init__(self, calls: RestCalls) -> None:
        self._calls = calls

    async def profile(self, symbol: str) -> Profile | None:
        """Return the profile of a stock; None if Finnhub does not know the symbol.

        :raises RequestError: there is no usable response.
        """
        answer = await self._calls.request(lambda api: api.company_profile(symbol))
        try:
            return parse_profile(answer)
        except ValueError as error:
            raise RequestError(str(error), "no") from None
