"""Keys and their connections: spread, watched, replaced, changed while they run, doubled."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from app.contracts import Message, Quote, Trades, Watermark
from app.feeds.clock import SteadyClock
from app.feeds.live.recorder import Recorder
from app.feeds.replay.command import run as replay
from app.feeds.vendor import BadKeyError
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.producing import has_trades, know_server, produce, producing
from tests.integration.feeds.topic_reader import stocks, trades_of
from tests.support import HANG_S
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import market_fields, newest

MakeSettings = Callable[..., Settings]
SPEED = 20


class StepClock(SteadyClock):
    """A clock that stands still during each step of the event loop.

    What a producer does with an event and what is recorded of it then have the same time.
    """

    _held_ms: int | None = None

    def now_ms(self) -> int:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return super().now_ms()
        if self._held_ms is None:
            self._held_ms = super().now_ms()
            loop.call_soon(self._release)
        return self._held_ms

    def move_forward(self, ms: int) -> None:
        super().move_forward(ms)
        self._release()

    def _release(self) -> None:
        self._held_ms = None


PING = '{"type":"ping"}'


@pytest.fixture
def server() -> Iterator[FinnhubServer]:
    with FinnhubServer() as server:
        yield server


@pytest.fixture
def make_producer(make_settings: MakeSettings, server: FinnhubServer) -> MakeSettings:
    """Settings of a producer on `server`, its topics made; of one key and A, B if not emitted."""

    def make(keys: str = "key-1", symbols: str = "A,B", **overrides: object) -> Settings:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols=symbols,
            **server.settings(keys),
            **overrides,
        )
        ensure_topics(settings)
        return settings

    return make


def test_each_key_has_a_connection_and_its_share_of_the_symbols(
    make_producer: MakeSettings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_producer("key-1,key-2", "A,B,C,D,E", finnhub_symbols_per_connection=2)
    with producing(settings):
        assert sorted(server.wait_for("subscribe", 4)) == ["A", "B", "C", "D"]
        assert sorted(server.keys) == ["key-1", "key-2"]
        now = SteadyClock().now_ms()
        server.send_trades(("A", now, 1), key="key-1")
        server.send_trades(("B", now, 1), key="key-2")
        messages = stocks(settings, until=lambda m: bool(trades_of(m, "A") and trades_of(m, "B")))
    assert len({m.connection for m in messages if isinstance(m, Trades)}) == 2
    assert len({m.source for m in messages}) == 1
    assert "these have quotes only: E" in caplog.text


def test_the_symbols_of_a_key_that_is_rejected_go_to_the_others(
    make_producer: MakeSettings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.rejected_keys = {"key-2"}
    with producing(make_producer("key-1,key-2")):
        assert sorted(server.wait_for("subscribe", 2)) == ["A", "B"]
    assert "key 2 of FINNHUB_API_KEY" in caplog.text
    server.rejected_keys = {"key-1", "key-2"}
    with pytest.raises(BadKeyError):
        asyncio.run(produce(make_producer("key-1,key-2")))


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_names_a_time_is_not_asked_before(
    make_producer: MakeSettings, server: FinnhubServer, status: int
) -> None:
    settings, clock = make_producer(), SteadyClock(SPEED)
    server.refuse_with, server.retry_after = status, "200"
    began_ms = clock.now_ms()
    with producing(settings, clock):
        server.wait_for("open", 2)
        assert clock.now_ms() - began_ms >= 200_000


def test_no_redirect_is_followed_and_the_feed_comes_back_when_it_ends(
    make_producer: MakeSettings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []
    with FinnhubServer() as other:
        other.rest = lambda path, _: asked.append(path) or (200, b"{}")  # type: ignore[func-returns-value]
        server.redirect_to = other.address
        settings = make_producer("marker-key")
        know_server(settings)
        with producing(settings, SteadyClock(SPEED)):
            for scheme in ("ws", "http"):
                while f"redirects (HTTP 302) to {scheme}://{other.address}," not in caplog.text:
                    server.wait_a_moment(0.1)
            server.redirect_to = None
            assert server.wait_for("subscribe", 2) == ["A", "B"]
        assert other.received.empty()
        assert asked == []
    assert "marker-key" not in caplog.text


def test_a_connection_that_only_pings_is_replaced_and_was_not_covered(
    make_producer: MakeSettings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteadyClock(SPEED)
    settings = make_producer(finnhub_silence_s=130)  # so that a full minute is a gap
    before_ms = clock.now_ms()
    with producing(settings, clock):
        server.wait_for("open")
        server.wait_for("subscribe", 2)
        for _ in range(20):
            sent_ms = clock.now_ms()
            server.send_trades(("A", sent_ms, 1))
            server.wait_a_moment(0.05)
        stocks(settings, until=has_trades("A", 20))
        last_ms = clock.now_ms()
        with _Pinging(server):
            server.wait_for("open")
        replaced_ms = clock.now_ms()
        server.wait_for("subscribe", 2)
        server.send_trades(("A", clock.now_ms(), 2))
        messages = stocks(settings, until=_passed(clock.now_ms()))
    assert "though the market is open, reconnecting" in caplog.text
    gap = range(last_ms // 60_000 + 1, replaced_ms // 60_000)
    assert gap
    assert [_covered(messages, minute * 60_000) for minute in gap] == [0] * len(gap)
    minute = sent_ms // 60_000 * 60_000
    longest_ms = min(last_ms, minute + 60_000) - max(before_ms, minute)
    assert 0 < _covered(messages, minute) <= longest_ms
    assert _trades_span(messages, minute) <= _covered(messages, minute)


class _Pinging:
    """Pings a client for as long as the block runs."""

    def __init__(self, server: FinnhubServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ping)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ping(self) -> None:
        while not self._ended.wait(0.2):
            self._server.send(PING)


def _passed(t: int, symbol: str = "A") -> Callable[[list[Message]], bool]:
    """Whether every source's minute of `t` is emitted."""
    end = t // 60_000 * 60_000 + 60_000

    def emitted(messages: list[Message]) -> bool:
        last = messages[-1]
        return isinstance(last, Watermark) and last.symbol == symbol and last.t >= end

    return emitted


def _covered(messages: list[Message], minute: int) -> int:
    """What was emitted last of a minute of A."""
    emitted = [
        m.covered_ms
        for m in messages
        if isinstance(m, Watermark) and (m.symbol, m.minute_start) == ("A", minute)
    ]
    assert emitted[-1] is not None
    return emitted[-1]


def _trades_span(messages: list[Message], minute: int) -> int:
    """From the first to the last trade of A that was received in a minute, in ms."""
    received = [
        m.received_at
        for m in messages
        if isinstance(m, Trades) and m.symbol == "A" and m.received_at // 60_000 * 60_000 == minute
    ]
    return max(received) - min(received) if received else 0


def test_what_the_server_rejects_is_named_and_has_quotes(
    make_producer: MakeSettings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    quote = {"c": 1.5, "d": None, "dp": 0.1, "h": 2, "l": 1, "o": 1, "pc": 1, "t": 1_700_000_000}
    server.rest = lambda path, headers: (200, json.dumps(quote).encode())
    server.rejected_symbols = {"C", "E"}
    settings = make_producer(symbols="A,B,C,D,E,F", finnhub_silence_s=3_600)
    clock = SteadyClock(SPEED)
    with producing(settings, clock):
        while caplog.text.count("it has quotes only") < 2:
            server.wait_a_moment(0.1)
        since_ms = clock.now_ms()
        stocks(settings, until=lambda read: {"C", "E"} <= _quoted(read, since_ms))
    assert "the subscription of C" in caplog.text
    assert "the subscription of E" in caplog.text
    assert server.received.queue.count(("open", "key-1")) == 1, "the connection stayed"


def _quoted(messages: list[Message], since_ms: int) -> set[str]:
    return {m.symbol for m in messages if isinstance(m, Quote) and m.received_at > since_ms}


def test_symbols_change_without_a_reconnect(
    make_producer: MakeSettings, server: FinnhubServer, tmp_path: Path
) -> None:
    file = tmp_path / "symbols.txt"
    file.write_text("A\nB\n")
    settings = make_producer(stocks_symbols_file=file, finnhub_silence_s=3_600)
    with producing(settings, SteadyClock(SPEED)):
        assert server.wait_for("open")
        assert server.wait_for("subscribe", 2) == ["A", "B"]
        file.write_text("A\nC\n")
        assert [server.received.get(timeout=HANG_S) for _ in range(2)] == [
            ("unsubscribe", "B"),
            ("subscribe", "C"),
        ]
        file.write_text("no symbol!")
        file.write_text("A\nC\nD\n")
        assert server.received.get(timeout=HANG_S) == ("subscribe", "D")
        server.send_trades(("D", SteadyClock().now_ms(), 1))
        stocks(settings, until=has_trades("D", 1))


def test_two_producers_with_two_keys_make_the_candles_of_one(
    make_producer: MakeSettings, server: FinnhubServer, tmp_path: Path
) -> None:
    clock = SteadyClock(SPEED)
    alone = make_producer("key-0")
    a = make_producer("key-1", tickhouse_data_dir=tmp_path / "a")
    b = a.model_copy(update={"tickhouse_data_dir": tmp_path / "b", **make_keys("key-2")})
    with producing(alone, clock), producing(a, clock) as end_a:
        server.wait_for("subscribe", 4)
        with producing(b, clock):
            server.wait_for("subscribe", 2)
            _play(server, clock, 150)
            server.drop("key-1")
            end_a()
            _play(server, clock, 150)
            with producing(a, clock):
                server.wait_for("subscribe", 2)
                _play(server, clock, 50)
                server.drop("key-2")
                _play(server, clock, 1)
                server.wait_for("subscribe", 2)
                _play(server, clock, 100)
                end = clock.now_ms()
                wanted = _candles(stocks(alone, until=_passed(end)))
                sources = {m.source for m in stocks(a, until=_passed(end))}
                messages = stocks(a, until=_final(wanted.keys()))
    assert len(sources) == 2
    assert len(wanted) >= 2
    assert _candles(messages) == wanted


def make_keys(keys: str) -> dict[str, object]:
    return Settings(_env_file=None, finnhub_api_key=keys).model_dump(include={"finnhub_api_key"})


def _play(server: FinnhubServer, clock: SteadyClock, frames: int) -> None:
    """Send trades of the current time, some of them twins, one frame every 0.2 s of the clock."""
    for n in range(frames):
        t = clock.now_ms()
        server.send_trades(("A", t, 1 + n % 7), ("A", t, 1 + n % 7), ("A", t - 30, 2 + n % 5))
        server.wait_a_moment(0.2 / SPEED)


def _backfill() -> Backfill:
    return Backfill(Rules("simulated", "sip", 5_000, 900_000))


def _candles(messages: list[Message]) -> dict[object, object]:
    backfill = _backfill()
    found = newest(backfill.records(messages))
    assert not backfill.rejections
    return {key: market_fields(c) for key, c in found.items() if c.interval == "1m"}


def _final(wanted: Iterable[object]) -> Callable[[list[Message]], bool]:
    """Return whether messages make every candle that is wanted, to be asked at each message."""
    backfill, missing = _backfill(), set(wanted)

    def made(messages: list[Message]) -> bool:
        missing.difference_update(newest(backfill.records(messages[-1:])))
        return not missing

    return made


def test_a_recorded_day_is_played_back(
    make_producer: MakeSettings,
    make_settings: MakeSettings,
    server: FinnhubServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock, file = StepClock(SPEED), tmp_path / "day.jsonl.gz"
    server.rest = lambda *_: (200, _quote(clock.now_ms()))
    live = make_producer()
    recorder = Recorder(file, clock)
    with producing(live, clock, recorder):
        server.wait_for("subscribe", 2)
        _play(server, clock, 100)
        server.send("no JSON")
        server.drop()
        server.wait_for("subscribe", 2)
        _play(server, clock, 300)
        stocks(live, until=_passed(clock.now_ms()))
    recorder.close()
    again = make_settings()
    replay(again, file)
    played, played_back = stocks(live), stocks(again)
    assert _received(played_back) == _received(played)
    assert {m.symbol for m in played_back if isinstance(m, Quote)} == {"A", "B"}
    assert _emitted(played_back) == _emitted(played)
    assert {m.feed for m in played_back} == {"replay"}


def _quote(now_ms: int) -> bytes:
    """An answer that differs from time to time."""
    known = {"d": None, "dp": 0.1, "h": 2, "l": 1, "o": 1, "pc": 1}
    return json.dumps(known | {"c": now_ms % 10_000 / 100 + 1, "t": now_ms // 1000}).encode()


def _received(messages: list[Message]) -> list[object]:
    """A's trades and quotes in their order."""
    received: list[object] = []
    for m in messages:
        if isinstance(m, Trades) and m.symbol == "A":
            received += [(t.t, t.p, t.v, t.frame, t.i, t.k) for t in m.trades]
        elif isinstance(m, Quote) and m.symbol == "A":
            received.append((m.received_at, m.c, m.t))
    return received


def _emitted(messages: list[Message]) -> dict[tuple[str, int | None], int | None]:
    """What was emitted last of each minute."""
    watermarks = [m for m in messages if isinstance(m, Watermark)]
    return {(m.symbol, m.minute_start): m.covered_ms for m in watermarks}
