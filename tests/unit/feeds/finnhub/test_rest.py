"""REST calls: within their budget, repeated where it helps, and what is never shown."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from socket import SHUT_RDWR
from typing import Any

import pytest

import app.feeds.finnhub.rest
from app.feeds.clock import ManualClock, SteadyClock
from app.feeds.finnhub.rate_limit import CallBudget
from app.feeds.finnhub.rest import ATTEMPTS, FinnhubRest, RestCalls
from app.feeds.http_headers import RetryAfter
from app.feeds.vendor import KeyRejected, RequestError
from tests.recording_host import RecordingHost
from tests.unit.feeds.rest_api import FakeApi

NOW = 1_731_600_060_000
KEY = "marker-key"
DATE, DATE_MS = "Thu, 14 Nov 2024 16:01:00 GMT", 1_731_600_060_000


class _Keys:
    """Calls with a key for each of `apis`, on a clock that waits in no time."""

    def __init__(self, *apis: FakeApi, per_minute: int = 60, seed: int = 1) -> None:
        self.clock = ManualClock(NOW)
        self.budgets = [CallBudget(per_minute) for _ in apis]
        pairs = list(zip(apis, self.budgets, strict=True))
        self.calls = RestCalls(pairs, self.clock, Random(seed))

    def quote(self, symbol: str = "A") -> Any:
        return asyncio.run(self.calls.request(lambda api: api.quote(symbol)))

    @property
    def waited_ms(self) -> int:
        return self.clock.now_ms() - NOW


def test_faults_that_pass_are_asked_again_with_longer_pauses() -> None:
    keys = _Keys(
        FakeApi(RequestError("HTTP 502", "soon", 502), RequestError("time-out", "soon"), "it")
    )
    assert keys.quote() == "it"
    assert 1_500 <= keys.waited_ms <= 3_000


@pytest.mark.parametrize(("retry", "status"), [("soon", 500), ("later", 429)])
def test_waits_are_jittered(retry: Any, status: int) -> None:
    waited = set()
    for seed in range(20):
        keys = _Keys(FakeApi(RequestError("trouble", retry, status), "it"), seed=seed)
        assert keys.quote() == "it"
        waited.add(keys.waited_ms)
    assert len(waited) > 15
    assert max(waited) > 1.5 * min(waited)


def test_a_fault_that_stays_is_raised_after_three_attempts() -> None:
    api = FakeApi(*[RequestError("HTTP 500", "soon", 500)] * 9)
    with pytest.raises(RequestError):
        _Keys(api).quote()
    assert len(api.asked) == ATTEMPTS == 3


def test_used_up_calls_are_waited_for() -> None:
    keys = _Keys(FakeApi(RequestError("HTTP 429", "later", 429), "it"))
    assert keys.quote() == "it"
    assert 30_000 <= keys.waited_ms <= 60_000


def _asking_for(seconds: int, status: int = 429) -> RequestError:
    retry: Any = "later" if status == 429 else "soon"
    return RequestError(f"HTTP {status}", retry, status, RetryAfter(str(seconds), None))


@pytest.mark.parametrize("status", [302, 429, 500, 503])
def test_a_key_is_not_used_before_the_server_allows_it(status: int) -> None:
    waited = set()
    for seed in range(20):
        keys = _Keys(FakeApi(_asking_for(400, status), "it"), seed=seed)
        assert keys.quote() == "it"
        waited.add(keys.waited_ms)
    assert all(400_000 <= waited_ms <= 440_000 for waited_ms in waited)
    assert len(waited) > 15


def test_a_server_that_is_soon_there_again_is_asked_soon_but_never_at_once() -> None:
    keys = _Keys(FakeApi(_asking_for(0), _asking_for(0), "it"))
    assert keys.quote() == "it"
    assert 1_500 <= keys.waited_ms <= 3_000


def test_while_a_server_wants_none_of_a_keys_calls_another_key_goes_on() -> None:
    first, second = FakeApi(_asking_for(400), "first"), FakeApi("second", "second")
    keys = _Keys(first, second)
    assert [keys.quote(), keys.quote()] == ["second", "second"]
    assert keys.waited_ms < 5_000
    assert len(first.asked) == 1


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_call_that_is_given_up_still_keeps_the_next_from_coming_too_early(status: int) -> None:
    retry: Any = "soon" if status == 503 else "no"
    fault = RequestError(f"HTTP {status}", retry, status, RetryAfter("400", None))
    keys = _Keys(FakeApi(*[fault] * (ATTEMPTS if retry == "soon" else 1), "it"))
    with pytest.raises(RequestError):
        keys.quote()
    given_up_ms = keys.waited_ms
    assert keys.quote() == "it"
    assert keys.waited_ms - given_up_ms >= 390_000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_rejection_is_never_asked_again(status: int) -> None:
    api = FakeApi(RequestError(f"HTTP {status}", "no", status))
    with pytest.raises(RequestError):
        _Keys(api).quote()
    assert len(api.asked) == 1


def test_a_key_that_is_rejected_is_left_out_and_the_others_go_on() -> None:
    keys = _Keys(FakeApi(*[RequestError("HTTP 401", "no", 401)] * 2), FakeApi("it"))
    with pytest.raises(RequestError):
        keys.quote()
    with pytest.raises(KeyRejected):
        keys.quote()
    assert keys.quote() == "it"
    assert keys.calls


def test_the_key_that_may_call_first_is_used() -> None:
    first, second = FakeApi(1, 2, 3, 4), FakeApi(1, 2, 3, 4)
    keys = _Keys(first, second, per_minute=2)
    for _ in range(4):
        keys.quote()
    assert (len(first.asked), len(second.asked), keys.waited_ms) == (2, 2, 0)
    keys.quote()
    assert keys.waited_ms >= 60_000


def test_calls_of_any_kind_share_a_keys_budget() -> None:
    keys = _Keys(FakeApi(1, 2, 3), per_minute=2)
    asyncio.run(keys.calls.request(lambda api: api.market_status("US")))
    keys.quote()
    assert keys.waited_ms == 0
    keys.quote()
    assert keys.waited_ms >= 60_000


def test_no_minute_has_more_than_60_calls_and_no_second_more_than_30() -> None:
    budget, now_ms, made_ms = CallBudget(), NOW, []
    while len(made_ms) < 300:
        now_ms += budget.wait_ms(now_ms)
        budget.take(now_ms)
        made_ms.append(now_ms)
    for length_ms, limit in ((60_000, 60), (1_000, 30)):
        for start_ms in made_ms:
            assert sum(start_ms <= at < start_ms + length_ms for at in made_ms) <= limit
    assert made_ms[-1] - NOW < 5 * 62_000


class _Rest(BaseHTTPRequestHandler):
    """Answers as its class is emitted; a fault goes before the answer."""

    asked: list[tuple[str, str | None]]
    authorizations: list[str | None]
    status, body = 200, b"{}"
    date: str | None = DATE
    location: str | None = None
    retry_after: str | None = None
    fault: Callable[[_Rest], None] = staticmethod(lambda _: None)

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["X-Finnhub-Token"]))
        self.authorizations.append(self.headers["Authorization"])
        with suppress(OSError):  # a client may have given up
            self.fault(self)
            self.send_response_only(self.status)
            if self.date is not None:
                self.send_header("Date", self.date)
            if self.retry_after is not None:
                self.send_header("Retry-After", self.retry_after)
            if self.location is not None:
                self.send_header("Location", self.location)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def rest() -> Iterator[tuple[str, type[_Rest]]]:
    handler = type("Rest", (_Rest,), {"asked": [], "authorizations": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1", handler
        server.shutdown()
        thread.join()


def test_the_status_of_a_market_is_asked_by_its_exchange(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    assert FinnhubRest(url, "secret").market_status("US") == {}
    assert handler.asked == [("/api/v1//stock/market-status?exchange=US", "secret")]


def test_the_key_is_in_a_header_and_not_in_the_address(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    assert FinnhubRest(url, "secret").quote("BINANCE:BTCUSDT") == {}
    assert handler.asked == [("/api/v1//quote?symbol=BINANCE%3ABTCUSDT", "secret")]


@pytest.mark.parametrize(
    ("status", "retry"),
    [(429, "later"), (500, "soon"), (502, "soon"), (401, "no"), (403, "no"), (404, "no")],
)
def test_the_status_reports_whether_asking_again_helps(
    rest: tuple[str, type[_Rest]], status: int, retry: str
) -> None:
    url, handler = rest
    handler.status, handler.body = status, b'{"error":"no secret here"}'
    with pytest.raises(RequestError) as caught:
        FinnhubRest(url, "secret").quote("A")
    assert (caught.value.status, caught.value.retry) == (status, retry)
    assert "secret" not in str(caught.value)


def test_a_body_that_is_no_json_is_a_fault_that_may_pass(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    handler.body = b"<html>secret"
    with pytest.raises(RequestError) as caught:
        FinnhubRest(url, "secret").quote("A")
    assert caught.value.retry == "soon"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"null", b"7", b"[" * 100_000, b"\xff\xfe{"])
@pytest.mark.parametrize(("status", "retry"), [(500, "soon"), (403, "no"), (200, "soon")])
def test_a_body_that_no_one_foresaw_is_a_fault_of_its_status(
    rest: tuple[str, type[_Rest]], status: int, retry: str, body: bytes
) -> None:
    url, handler = rest
    handler.status, handler.body = status, body
    if status == 200 and body in (b"null", b"7"):
        assert FinnhubRest(url, "secret").quote("A") in (None, 7)
        return
    with pytest.raises(RequestError) as caught:
        FinnhubRest(url, "secret").quote("A")
    assert caught.value.retry == retry
    assert caught.value.status == (None if status == 200 else status)


def test_an_answer_that_does_not_come_is_given_up(
    rest: tuple[str, type[_Rest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.feeds.finnhub.rest, "TIMEOUT_S", 0.1)
    url, handler = rest
    handler.fault = staticmethod(lambda _: time.sleep(1))
    began_s = time.monotonic()
    with pytest.raises(RequestError, match="Read timed out") as caught:
        FinnhubRest(url, "secret").quote("A")
    assert time.monotonic() - began_s < 0.9
    assert caught.value.retry == "soon"


def test_an_answer_that_comes_in_drops_is_given_up(
    rest: tuple[str, type[_Rest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.feeds.finnhub.rest, "ANSWER_S", 0.3)
    url, handler = rest
    handler.fault = staticmethod(_drip)
    calls = RestCalls([(FinnhubRest(url, "secret"), CallBudget())], SteadyClock(100), Random(1))
    began_s = time.monotonic()
    with pytest.raises(RequestError, match=r"no complete answer within 0\.3 s") as caught:
        asyncio.run(calls.request(lambda api: api.quote("A")))
    assert time.monotonic() - began_s < 2.5
    assert caught.value.retry == "soon"
    assert len(handler.asked) == ATTEMPTS


def _drip(rest: _Rest) -> None:
    for _ in range(50):
        rest.wfile.write(b"H")
        time.sleep(0.1)


def test_a_connection_that_is_cut_is_a_fault_that_may_pass(rest: tuple[str, type[_Rest]]) -> None:
    url, handler = rest
    handler.fault = staticmethod(lambda rest: rest.connection.shutdown(SHUT_RDWR))
    with pytest.raises(RequestError) as caught:
        FinnhubRest(url, "secret").quote("A")
    assert caught.value.retry == "soon"


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("body", ['{"error":"%s"}', "<html>%s"])
def test_no_key_nor_a_part_of_one_is_in_the_text_of_a_fault(
    rest: tuple[str, type[_Rest]], status: int, body: str
) -> None:
    url, handler = rest
    handler.status = status
    api = FinnhubRest(url, "this+key", ["another-key"])
    for key in ("this+key", "this%2Bkey", "another-key"):
        for padding in (0, *range(230, 300, 4)):
            handler.body = (body % ("." * padding + key)).encode()
            with pytest.raises(RequestError) as caught:
                api.quote("A")
            assert key[:4] not in str(caught.value)


QUOTE = b'{"c":1,"d":0,"dp":0,"h":1,"l":1,"o":1,"pc":1,"t":1731600060}'
CALLS: dict[str, Callable[[FinnhubRest], Any]] = {
    "quote": lambda api: api.quote("A"),
    "market status": lambda api: api.market_status("US"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://{}/?token=%s", "//{}/", "https://{}/", "/other"])
def test_no_redirect_is_followed_and_a_sentence_reports_where_it_points_to(
    rest: tuple[str, type[_Rest]], location: str, status: int, call: str
) -> None:
    url, handler = rest
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with RecordingHost("127.0.0.2", head % len(QUOTE) + QUOTE) as other:
        handler.status, handler.body = status, QUOTE
        handler.location = location.replace("{}", other.address).replace("%s", KEY)
        with pytest.raises(RequestError) as caught:
            CALLS[call](FinnhubRest(url, KEY))
        assert other.received() == []
    there = url.removesuffix("/api/v1") if location == "/other" else f"://{other.address}"
    assert f"redirects (HTTP {status}) to " in str(caught.value)
    assert there in str(caught.value)
    assert "FINNHUB_REST_URL" in str(caught.value)
    assert (caught.value.retry, caught.value.status) == ("soon", status)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert len(handler.asked) == 1


def test_an_answer_that_is_neither_an_answer_nor_a_rejection_is_a_fault(
    rest: tuple[str, type[_Rest]],
) -> None:
    url, handler = rest
    handler.status, handler.body = 304, b""
    with pytest.raises(RequestError, match="HTTP 304"):
        FinnhubRest(url, KEY).quote("A")


@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_encrypted_goes_through_no_proxy(
    rest: tuple[str, type[_Rest]], proxy: RecordingHost, call: str
) -> None:
    assert CALLS[call](FinnhubRest(rest[0], KEY)) == {}
    assert proxy.received() == []


@pytest.mark.parametrize("call", CALLS)
def test_loopback_is_reached_through_no_proxy(proxy: RecordingHost, call: str) -> None:
    with pytest.raises(RequestError):
        CALLS[call](FinnhubRest("https://127.0.0.1:1/api/v1", KEY))
    assert proxy.received() == []


@pytest.mark.parametrize("call", CALLS)
def test_a_proxy_sees_nothing_of_an_encrypted_call_but_its_host(
    proxy: RecordingHost, call: str
) -> None:
    with pytest.raises(RequestError):
        CALLS[call](FinnhubRest("https://rest.example/api/v1", KEY))
    [request] = proxy.received()
    assert request.startswith(b"CONNECT rest.example:443 HTTP/1.")
    assert KEY.encode() not in request


def test_a_host_that_is_excepted_from_the_proxies_is_reached_without_one(
    proxy: RecordingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "rest.invalid")
    with pytest.raises(RequestError):
        FinnhubRest("https://rest.invalid/api/v1", KEY).quote("A")
    assert proxy.received() == []


@pytest.mark.parametrize("call", CALLS)
def test_a_netrc_file_adds_no_credentials(
    rest: tuple[str, type[_Rest]], call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password of-mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url, handler = rest
    CALLS[call](FinnhubRest(url, KEY))
    assert handler.authorizations == [None]


def test_a_bundle_of_certificates_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "no-bundle.pem"))
    with pytest.raises(RequestError, match=r"no-bundle\.pem"):
        FinnhubRest("https://127.0.0.1:1/api/v1", KEY).quote("A")


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04X}" for char in text)


@pytest.mark.parametrize("status", [200, 302, 403, 429, 500])
@pytest.mark.parametrize("body", ['{"error":"%s"}', '{"c":["%s"]}', "<html>%s"])
def test_a_key_that_is_sent_back_is_masked_however_it_is_escaped(
    rest: tuple[str, type[_Rest]], status: int, body: str
) -> None:
    url, handler = rest
    handler.status = status
    for form in (_escaped(KEY), _escaped(KEY).lower(), KEY.replace("-", "%2D")):
        handler.body = (body % form).encode()
        with pytest.raises(RequestError) as caught:
            FinnhubRest(url, KEY).quote("A")
        assert form not in str(caught.value)
        assert KEY not in str(caught.value)


def test_a_key_that_is_too_short_for_one_may_stand_in_an_answer(
    rest: tuple[str, type[_Rest]],
) -> None:
    url, handler = rest
    handler.body = QUOTE
    assert FinnhubRest(url, "dp").quote("A")["dp"] == 0


@pytest.mark.parametrize("status", [200, 401, 404, 429, 500])
def test_the_date_of_every_answer_is_reported_with_when_it_was_asked_for(
    rest: tuple[str, type[_Rest]], status: int
) -> None:
    url, handler = rest
    handler.status = status
    clock, dates = _Slow(NOW), []
    keys = [(FinnhubRest(url, KEY), CallBudget())]
    calls = RestCalls(keys, clock, Random(1), on_date=lambda *item: dates.append(item))
    with suppress(RequestError):
        asyncio.run(calls.request(lambda api: clock.call(lambda: api.quote("A"))))
    assert len(dates) == len(handler.asked) == len(clock.calls_ms)
    for (date_ms, sent_ms, received_ms), called_ms in zip(dates, clock.calls_ms, strict=True):
        assert date_ms == DATE_MS
        assert (sent_ms, received_ms) == called_ms


class _Slow(ManualClock):
    """A clock on which each call takes two seconds.

    :ivar calls_ms: when each began and ended.
    """

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.calls_ms: list[tuple[int, int]] = []

    def call(self, call: Callable[[], Any]) -> Any:
        began_ms = self.now_ms()
        try:
            return call()
        finally:
            self.move_forward(2_000)
            self.calls_ms.append((began_ms, self.now_ms()))


@pytest.mark.parametrize("status", [302, 429, 503])
@pytest.mark.parametrize("asked", ["90", "Thu, 14 Nov 2024 16:02:30 GMT"])
def test_when_to_call_again_is_reckoned_from_the_servers_own_clock(
    rest: tuple[str, type[_Rest]], asked: str, status: int
) -> None:
    url, handler = rest
    handler.status, handler.retry_after = status, asked
    with pytest.raises(RequestError) as caught:
        FinnhubRest(url, KEY).quote("A")
    assert caught.value.retry_after.wait_ms(NOW + 86_400_000) == 90_000


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_reports_none(
    rest: tuple[str, type[_Rest]], date: str | None
) -> None:
    url, handler = rest
    handler.date = date
    dates: list[tuple[int, int, int]] = []
    keys = [(FinnhubRest(url, KEY), CallBudget())]
    calls = RestCalls(keys, ManualClock(NOW), Random(1), on_date=lambda *item: dates.append(item))
    assert asyncio.run(calls.request(lambda api: api.quote("A"))) == {}
    assert dates == []


def test_a_call_without_an_answer_reports_no_date_of_an_earlier_one(
    rest: tuple[str, type[_Rest]],
) -> None:
    url, handler = rest
    dates: list[tuple[int, int, int]] = []
    keys = [(FinnhubRest(url, KEY), CallBudget())]
    calls = RestCalls(keys, ManualClock(NOW), Random(1), on_date=lambda *item: dates.append(item))

    async def ask_twice() -> None:
        await calls.request(lambda api: api.quote("A"))
        handler.fault = staticmethod(lambda rest: rest.connection.shutdown(SHUT_RDWR))
        with pytest.raises(RequestError):
            await calls.request(lambda api: api.quote("A"))

    asyncio.run(ask_twice())
    assert dates == [(DATE_MS, NOW, NOW)]


def test_the_network_being_down_is_a_fault_that_may_pass() -> None:
    with pytest.raises(RequestError) as caught:
        FinnhubRest("http://127.0.0.1:1/api/v1", "secret").quote("A")
    assert caught.value.retry == "soon"
    assert "secret" not in str(caught.value)
