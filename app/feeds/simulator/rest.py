"""Finnhub's REST interface without sockets: tokens, limits, paths and bodies."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from app.feeds.simulator.market.venue import Venue

ROOT = "/api/v1"
CALLS_PER_MINUTE, CALLS_PER_S = 60, 30
"""The limit of a free key, and the limit of every plan."""

INVALID_KEY = "Invalid API key."
LIMIT_REACHED = "API limit reached. Please try again later. Remaining Limit: 0"

_PAID = frozenset(
    f"{ROOT}/{path}" for path in ("stock/candle", "crypto/candle", "forex/candle", "stock/tick")
)
_SLASHES = re.compile("/{2,}")


class RestResponse(NamedTuple):
    """An HTTP response with a JSON body."""

    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str]


class _RateWindow:
    """Calls of one key in fixed windows of time."""

    def __init__(self, limit: int, length_ms: int) -> None:
        self.limit = limit
        self.left = limit
        self.ends_ms = 0
        self._length_ms = length_ms

    def take(self, now_ms: int) -> bool:
        if now_ms >= self.ends_ms:
            self.left, self.ends_ms = self.limit, now_ms + self._length_ms
        if self.left <= 0:
            return False
        self.left -= 1
        return True


class SimulatedRestApi:
    """Answers requests as Finnhub does.

    :param calls_per_minute: the limit per key; 0 for no limit.
    """

    def __init__(
        self, venue: Venue, tokens: Collection[str], calls_per_minute: int = CALLS_PER_MINUTE
    ) -> None:
        self._venue = venue
        self._tokens = frozenset(tokens)
        self._calls_per_minute = calls_per_minute
        self._windows: dict[str, tuple[_RateWindow, _RateWindow]] = {}

    def answer(self, target: str, header_token: str | None, now_ms: int) -> RestResponse:
        """Return the response to `GET target`.

        :param target: path and query as received, including double slashes.
        :param header_token: the value of `X-Finnhub-Token`, which takes precedence over the
            query's.
        """
        path, _, raw_query = target.partition("?")
        query = {key: values[-1] for key, values in parse_qs(raw_query).items()}
        token = header_token or query.get("token")
        if not token:
            return _error(HTTPStatus.UNAUTHORIZED, "Please use an API key.")
        if token not in self._tokens:
            return _error(HTTPStatus.UNAUTHORIZED, INVALID_KEY)
        allowed, limits = self._handle(token, now_ms)
        if not allowed:
            return _error(HTTPStatus.TOO_MANY_REQUESTS, LIMIT_REACHED, limits)
        return self._resource(unquote(_SLASHES.sub("/", path)), query, now_ms, limits)

    def _handle(self, token: str, now_ms: int) -> tuple[bool, dict[str, str]]:
        if not self._calls_per_minute:
            return True, {}
        if token not in self._windows:
            self._windows[token] = (
                _RateWindow(self._calls_per_minute, 60_000),
                _RateWindow(CALLS_PER_S, 1_000),
            )
        minute, second = self._windows[token]
        allowed = second.take(now_ms) and minute.take(now_ms)
        headers = {
            "X-Ratelimit-Limit": str(minute.limit),
            "X-Ratelimit-Remaining": str(minute.left),
            "X-Ratelimit-Reset": str(-(-minute.ends_ms // 1000)),
        }
        if not allowed:
            free_ms = max(window.ends_ms for window in (second, minute) if window.left <= 0)
            headers["Retry-After"] = str(-(-(free_ms - now_ms) // 1000))
        return allowed, headers

    def _resource(
        self, path: str, query: dict[str, str], now_ms: int, headers: dict[str, str]
    ) -> RestResponse:
        if path == f"{ROOT}/quote":
            if "symbol" not in query:
                return _error(HTTPStatus.UNPROCESSABLE_ENTITY, "Missing parameters.", headers)
            return _ok(self._venue.quote(query["symbol"]), headers)
        if path == f"{ROOT}/stock/profile2":
            if "symbol" not in query:
                return _error(HTTPStatus.UNPROCESSABLE_ENTITY, "Missing parameters.", headers)
            listed = self._venue.quote(query["symbol"]).c > 0
            return _ok(_profile(query["symbol"]) if listed else {}, headers)
        if path == f"{ROOT}/stock/market-status":
            return _ok(_market_status(query.get("exchange", "US"), now_ms), headers)
        if path == f"{ROOT}/stock/market-holiday":
            return _ok(_no_holidays(query.get("exchange", "US")), headers)
        if path in _PAID:
            text = "You don't have access to this resource."
            return _error(HTTPStatus.FORBIDDEN, text, headers)
        return _error(HTTPStatus.NOT_FOUND, "The simulator has no such resource.", headers)


def http_rejection(status: int, after_s: int | None = None) -> RestResponse:
    """Return the response to a handshake that is rejected with `status`.

    :param after_s: the value of `Retry-After`, if any.
    """
    texts = {401: INVALID_KEY, 429: LIMIT_REACHED}
    headers = {} if after_s is None else {"Retry-After": str(after_s)}
    return _error(HTTPStatus(status), texts.get(status, HTTPStatus(status).phrase), headers)


def _market_status(exchange: str, now_ms: int) -> dict[str, Any]:
    """Return the market status: the simulated market is always in its regular session."""
    return {
        "exchange": exchange,
        "holiday": None,
        "isOpen": True,
        "session": "regular",
        "t": now_ms // 1000,
        "timezone": "America/New_York",
    }


def _profile(symbol: str) -> dict[str, Any]:
    """Return the profile of a simulated company, with the fields of a free key."""
    return {
        "country": "US",
        "currency": "USD",
        "exchange": "SIMULATED MARKET",
        "finnhubIndustry": "Technology",
        "ipo": "2000-01-03",
        "logo": "",
        "marketCapitalization": 1_000.0,
        "name": f"{symbol} (simulated)",
        "phone": "",
        "shareOutstanding": 100.0,
        "ticker": symbol,
        "weburl": "",
    }


def _no_holidays(exchange: str) -> dict[str, Any]:
    return {"data": [], "exchange": exchange, "timezone": "America/New_York"}


def _ok(body: Any, headers: Mapping[str, str]) -> RestResponse:
    return RestResponse(HTTPStatus.OK, msgspec.json.encode(body), headers)


def _error(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> RestResponse:
    return RestResponse(status, msgspec.json.encode({"error": text}), headers or {})
