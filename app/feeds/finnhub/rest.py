"""Finnhub's REST API with time-outs, retries and plain errors, whose texts contain no API keys."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from math import ceil
from random import Random
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import finnhub
import requests
from requests.utils import get_environ_proxies

from app.feeds.clock import Clock
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.http_headers import MAX_JITTER_FACTOR, RetryAfter, date_ms_of
from app.feeds.vendor import KeyRejected, OnDate, RequestError, Retry
from app.hosts import origin_of, takes_proxy
from app.redaction import SHORTEST_KEY, Redactor

TIMEOUT_S = 4
ANSWER_S = 20.0
"""Time-out for a complete response. One that arrives slowly never reaches the socket's time-out."""
ATTEMPTS = 3
_MAX_TEXT = 300
_MINUTE_MS = 60_000

T = TypeVar("T")

_date_ms: ContextVar[int | None] = ContextVar("date_ms", default=None)
"""Date of this thread's last response; an abandoned call cannot overwrite another thread's."""


class FinnhubApi(Protocol):
    """The calls of Finnhub's REST API that are used."""

    def quote(self, symbol: str) -> Any:
        """Return the JSON of a quote as Python values; raises `RequestError`."""

    def market_status(self, exchange: str) -> Any:
        """Return the JSON of a market's status as Python values; raises `RequestError`."""

    def company_profile(self, symbol: str) -> Any:
        """Return the JSON of a company's profile as Python values; raises `RequestError`."""


class FinnhubRest:
    """finnhub-python with a time-out, the key in a header instead of the URL, and plain errors.

    Redirects are not followed and .netrc files are not read. A proxy from the environment is used
    for https:// only, where it sees nothing but the server's host, and never for a loopback
    address.

    :param others: further keys that must not appear in any text.
    """

    def __init__(self, url: str, key: str, others: Sequence[str] = ()) -> None:
        self._url = url
        self._redactor = Redactor((key, *others))
        self._echoes = Redactor((key, *others), SHORTEST_KEY)
        self._client = finnhub.Client(api_key=key)
        self._client.API_URL = url.rstrip("/")
        self._client.DEFAULT_TIMEOUT = TIMEOUT_S
        session = self._client._session
        # a key in the query would appear in the text of network errors
        del session.params["token"]
        session.headers["X-Finnhub-Token"] = key
        session.trust_env = False
        session.proxies = get_environ_proxies(url) if takes_proxy(url) else {}
        session.verify = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        session.hooks["response"] += [_record_date, self._check_status]

    def quote(self, symbol: str) -> Any:
        """Request the quote of `symbol`.

        :raises RequestError: there is no usable response; the text does not contain the key.
        """
        return self._request(lambda: self._client.quote(symbol))

    def market_status(self, exchange: str) -> Any:
        """Request whether `exchange` is open.

        :raises RequestError: there is no usable response; the text does not contain the key.
        """
        return self._request(lambda: self._client.market_status(exchange=exchange))

    def company_profile(self, symbol: str) -> Any:
        """Request the profile of the company whose stock is `symbol`.

        :raises RequestError: there is no usable response; the text does not contain the key.
        """
        return self._request(lambda: self._client.company_profile2(symbol=symbol))

    def _request(self, call: Callable[[], Any]) -> Any:
        try:
            answer = call()
            text = repr(answer)
        except RequestError:
            raise
        except Exception as error:  # any network error, or an unexpected response
            raise self._fault(f"{type(error).__name__}: {error}", "soon") from None
        if self._echoes.text(text) != text:
            raise RequestError("the answer holds an API key", "soon")
        return answer

    def _check_status(self, response: requests.Response, **_: Any) -> None:
        """Raise for a response whose status is not 2xx.

        finnhub-python fails on error bodies that are not JSON objects. This hook runs before a
        redirect would be followed.
        """
        status = response.status_code
        if 200 <= status < 300:
            return
        retry_after = RetryAfter(response.headers.get("Retry-After"), _date_ms_of(response))
        location = response.headers.get("Location")
        if 300 <= status < 400 and location is not None:
            text = (
                f"the server redirects (HTTP {status}) to {origin_of(location, self._url)}, which "
                "is not followed; if that is where the API is now, correct FINNHUB_REST_URL"
            )
            raise self._fault(text, "soon", status, retry_after)
        retry: Retry = "later" if status == 429 else "no" if 400 <= status < 500 else "soon"
        raise self._fault(f"HTTP {status}: {response.text}", retry, status, retry_after)

    def _fault(
        self,
        text: str,
        retry: Retry,
        status: int | None = None,
        retry_after: RetryAfter | None = None,
    ) -> RequestError:
        """Create an error whose text contains no key, not even one that was cut off at its end."""
        return RequestError(self._redactor.text(text)[:_MAX_TEXT], retry, status, retry_after)


def _record_date(response: requests.Response, **_: Any) -> None:
    _date_ms.set(_date_ms_of(response))


def _date_ms_of(response: requests.Response) -> int | None:
    return date_ms_of(response.headers.get("Date"), response.headers.get("Age"))


class _Answered(NamedTuple, Generic[T]):
    """The outcome of a call, and the date of the response in UNIX ms by the server's clock."""

    result: T | None
    fault: RequestError | None
    date_ms: int | None


def _answered(call: Callable[[FinnhubApi], T], api: FinnhubApi) -> _Answered[T]:
    """Make a call in the current thread."""
    _date_ms.set(None)
    result, fault = None, None
    try:
        result = call(api)
    except RequestError as raised:
        fault = raised
    return _Answered(result, fault, _date_ms.get())


class _Key:
    """An API key in use.

    :ivar answered: the last call that the server answered; None before the first.
    :ivar rejections: how many calls were answered with 401 before the first accepted one.
    """

    def __init__(self, api: FinnhubApi, budget: CallBudget) -> None:
        self.api = api
        self.budget = budget
        self.answered: Callable[[FinnhubApi], Any] | None = None
        self.rejections = 0


class RestCalls:
    """REST calls with all API keys, rate limited and retried.

    A single 401 does not drop a key, because it may concern a symbol that is not part of the key's
    plan. A key is dropped if its last accepted call is now rejected too, or, if none was accepted
    yet, after two rejected calls.

    :param keys: the API and the rate limit of each key.
    :param on_date: called on the event loop's thread with the date of each response that has one
        (errors included), and with the times by `clock` at which the call was sent and answered,
        all in UNIX ms. The server read its clock between these two times.
    """

    def __init__(
        self,
        keys: Sequence[tuple[FinnhubApi, CallBudget]],
        clock: Clock,
        rng: Random,
        *,
        on_date: OnDate | None = None,
    ) -> None:
        self._keys = [_Key(api, budget) for api, budget in keys]
        self._clock = clock
        self._rng = rng
        self._on_date = on_date

    def __bool__(self) -> bool:
        """Return whether a key is left."""
        return bool(self._keys)

    async def request(self, call: Callable[[FinnhubApi], T]) -> T:
        """Return the result of `call`, made with the key that may call first.

        :raises KeyRejected: the server rejects the key, or no key is left.
        :raises RequestError: there is no usable response after up to three attempts.
        """
        for attempt in range(1, ATTEMPTS + 1):
            key = await self._next_key()
            try:
                return await self._call(call, key)
            except RequestError as fault:
                asked = self._close(key.budget, fault)
                if fault.status == 401 and await self._is_rejected(key):
                    self._keys.remove(key)
                    raise KeyRejected(str(fault), "no", 401, fault.retry_after) from None
                if fault.retry == "no" or attempt == ATTEMPTS:
                    raise
                if fault.retry == "soon" or asked:
                    pause_ms = 1_000 * 2 ** (attempt - 1)
                    await self._clock.sleep(pause_ms * self._rng.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    async def _is_rejected(self, key: _Key) -> bool:
        """Return whether a 401 concerns the key, rather than the requested symbol."""
        if key.answered is None:
            key.rejections += 1
            return key.rejections > 1
        await self._await_budget(key)
        try:
            await self._call(key.answered, key)
        except RequestError as fault:
            self._close(key.budget, fault)
            return fault.status == 401
        return False

    def _close(self, budget: CallBudget, fault: RequestError) -> bool:
        """Block a key after an error; return whether the server named the time to wait."""
        now_ms = self._clock.now_ms()
        asked_ms = fault.retry_after.wait_ms(now_ms)
        if asked_ms is not None:
            budget.used_up(now_ms + ceil(asked_ms * self._rng.uniform(1.0, MAX_JITTER_FACTOR)))
        elif fault.retry == "later":
            budget.used_up(now_ms + round(_MINUTE_MS * self._rng.uniform(0.5, 1.0)))
        return asked_ms is not None

    async def _call(self, call: Callable[[FinnhubApi], T], key: _Key) -> T:
        key.budget.take(self._clock.now_ms())
        sent_ms = self._clock.now_ms()
        answered = await _in_thread(lambda: _answered(call, key.api))
        if answered.date_ms is not None and self._on_date is not None:
            self._on_date(answered.date_ms, sent_ms, self._clock.now_ms())
        if answered.fault is not None:
            raise answered.fault
        key.answered = call
        return answered.result  # type: ignore[return-value]

    async def _next_key(self) -> _Key:
        if not self._keys:
            raise KeyRejected("no key is left", "no", 401)
        while True:
            now_ms = self._clock.now_ms()
            key = min(self._keys, key=lambda key: key.budget.wait_ms(now_ms))
            if not (wait_ms := key.budget.wait_ms(now_ms)):
                return key
            await self._clock.sleep(wait_ms)

    async def _await_budget(self, key: _Key) -> None:
        while wait_ms := key.budget.wait_ms(self._clock.now_ms()):
            await self._clock.sleep(wait_ms)


async def _in_thread(call: Callable[[], T]) -> T:
    """Run `call` in a daemon thread, which does not delay the end of the process.

    :raises RequestError: the call takes too long; its thread is abandoned.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed; nothing waits for the result
            loop.call_soon_threadsafe(resolve, result, error)

    threading.Thread(target=work, name="rest", daemon=True).start()
    try:
        async with asyncio.timeout(ANSWER_S):
            return await answer
    except TimeoutError:
        raise RequestError(f"no complete answer within {ANSWER_S:g} s", "soon") from None
