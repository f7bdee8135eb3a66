"""REST quotes: each symbol about once a minute, in a thread that never holds up the socket."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Literal, Protocol

import finnhub
import msgspec
import requests
from finnhub.exceptions import FinnhubAPIException, FinnhubRequestException

from app.contracts import FeedName, Quote, Refusal, Rejected
from app.feeds.clock import Clock
from app.feeds.messages import rejections
from app.log import redact
from app.settings import Settings

TIMEOUT_S = 4
CALLS_PER_MINUTE = 50
"""Of the 60 a free key has; the rest is left for whoever else uses it."""
ATTEMPTS = 3

_FIELDS = ("c", "d", "dp", "h", "l", "o", "pc")

log = logging.getLogger(__name__)


class QuoteApi(Protocol):
    """What the poller asks for quotes."""

    def quote(self, symbol: str) -> Any:
        """The JSON of a quote, as Python values."""


class QuoteFault(Exception):
    """No quote came.

    :ivar retry: whether asking again can help; `later` means once the minute's calls are used up.
    :ivar status: the HTTP status, if there was one.
    """

    def __init__(
        self, reason: str, retry: Literal["no", "soon", "later"], status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.retry = retry
        self.status = status


class FinnhubQuotes:
    """finnhub-python with a time-out, the key in a header instead of the URL, and plain errors."""

    def __init__(self, url: str, token: str) -> None:
        self._token = token
        self._client = finnhub.Client(api_key=token)
        self._client.API_URL = url.rstrip("/")
        self._client.DEFAULT_TIMEOUT = TIMEOUT_S
        # as a parameter the key would stand in the text of every network error
        del self._client._session.params["token"]
        self._client._session.headers["X-Finnhub-Token"] = token

    def quote(self, symbol: str) -> Any:
        """The quote of `symbol`.

        :raises QuoteFault: none came; its text does not hold the key.
        """
        try:
            return self._client.quote(symbol)
        except FinnhubAPIException as error:
            status = error.status_code
            retry: Literal["no", "soon", "later"] = "soon" if status >= 500 else "no"
            reason = f"HTTP {status}: {error.message}"
            raise QuoteFault(
                redact(reason[:200], [self._token]), "later" if status == 429 else retry, status
            ) from None
        except (FinnhubRequestException, requests.RequestException) as error:
            reason = f"{type(error).__name__}: {error}"
            raise QuoteFault(redact(reason[:400], [self._token]), "soon") from None


def quote_message(
    payload: Any, *, symbol: str, feed: FeedName, source: str, received_at: int
) -> Quote | Refusal | None:
    """The message of Finnhub's answer `payload`; None when Finnhub does not know the symbol."""
    if not isinstance(payload, dict):
        return Refusal("schema", "the quote is not an object")
    if payload.get("c") == 0 and payload.get("t") == 0:
        return None
    if any(isinstance(payload.get(name), str) for name in _FIELDS):
        return Refusal("schema", "a number of the quote is written as a text")
    numbers = {
        name: Decimal(repr(payload[name]))
        if isinstance(payload.get(name), float)
        else payload.get(name)
        for name in _FIELDS
    }
    origin = {"symbol": symbol, "feed": feed, "source": source, "received_at": received_at}
    try:
        return msgspec.convert({"type": "quote", **origin, **numbers, "t": payload.get("t")}, Quote)
    except msgspec.ValidationError as error:
        return Refusal("schema", f"the quote is malformed: {error}"[:300])


class QuotePoller:
    """Asks for one symbol after the other, for ever.

    :param publish: takes each quote or rejection; called in the poller's thread.
    :param stop: ends it when set; all its waiting is done here.
    """

    def __init__(
        self,
        api: QuoteApi,
        symbols: Sequence[str],
        *,
        feed: FeedName,
        source: str,
        clock: Clock,
        rng: Random,
        publish: Callable[[Quote | Rejected], None],
        stop: threading.Event | None = None,
    ) -> None:
        self._api = api
        self._symbols = list(symbols)
        self._feed = feed
        self._source = source
        self._clock = clock
        self._rng = rng
        self._publish = publish
        self._stop = stop or threading.Event()
        self._troubled = False

    def start(self) -> None:
        """Poll in a thread that ends with the process or with `stop`."""
        threading.Thread(target=self.run, name="quotes", daemon=True).start()

    def stop(self) -> None:
        """Ask for no further quote."""
        self._stop.set()

    def run(self) -> None:
        """Poll until stopped, or until no symbol is left that has quotes."""
        while self._symbols and not self._stop.is_set():
            pause_s = 60 / min(len(self._symbols), CALLS_PER_MINUTE)
            for symbol in tuple(self._symbols):
                try:
                    self.poll(symbol)
                except Exception:  # a year's run must not lose its quotes to one odd answer
                    log.exception("the quote of %s failed in a way nobody foresaw", symbol)
                if self._stop.wait(pause_s):
                    return

    def poll(self, symbol: str) -> None:
        """Ask for one quote, again where that can help, and publish it."""
        try:
            payload = self._ask(symbol)
        except QuoteFault as fault:
            self._give_up(symbol, fault)
            return
        self._troubled = False
        quote = quote_message(
            payload,
            symbol=symbol,
            feed=self._feed,
            source=self._source,
            received_at=self._clock.now_ms(),
        )
        if quote is None:
            self._leave_out(symbol, "Finnhub does not know it")
        elif isinstance(quote, Refusal):
            raw = json.dumps(payload, default=str).encode()
            for record in rejections(raw, [quote], self._feed):
                self._publish(record)
        else:
            self._publish(quote)

    def _ask(self, symbol: str) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._api.quote(symbol)
            except QuoteFault as fault:
                wait_s = (20.0 if fault.retry == "later" else 1.0) * 2 ** (attempt - 1)
                last = attempt == ATTEMPTS or fault.retry == "no"
                if last or self._stop.wait(wait_s * self._rng.uniform(0.5, 1.0)):
                    raise
        raise AssertionError("unreachable")

    def _give_up(self, symbol: str, fault: QuoteFault) -> None:
        if fault.status == 401:
            log.error("Finnhub refuses the API key for quotes; correct FINNHUB_API_KEY")
            self.stop()
        elif fault.retry == "no":
            self._leave_out(symbol, str(fault))
        elif not self._troubled:
            self._troubled = True
            log.warning("no quote of %s (%s); the next minute tries again", symbol, fault)

    def _leave_out(self, symbol: str, why: str) -> None:
        self._symbols.remove(symbol)
        log.warning("no quotes of %s: %s. It is left out; correct STOCKS_SYMBOLS.", symbol, why)


def finnhub_quotes(settings: Settings) -> FinnhubQuotes:
    """Finnhub's REST API, or what FINNHUB_REST_URL names."""
    assert settings.finnhub_api_key is not None
    return FinnhubQuotes(settings.finnhub_rest_url, settings.finnhub_api_key.get_secret_value())
