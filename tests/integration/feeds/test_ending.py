"""SIGTERM ends a producer within 5 s, whatever it waits for, and loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.embedded.kafka import KafkaServer
from app.feeds.clock import SteadyClock
from app.feeds.outbox.outbox import SPILL_FILE
from app.feeds.outbox.spill_file import SpillFile
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.producing import has_trades, know_server
from tests.integration.feeds.topic_reader import stocks
from tests.support import HANG_S, await_, start

MOST_S = 5.0
"""On a machine that has nothing else to do."""
STUCK_S = 20.0
"""What it waits for would take this long, or for ever."""
MakeSettings = Callable[..., Settings]


def most_s() -> float:
    """How long it may take: longer where others are at work, but never as long as it would wait."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(MOST_S * max(1.0, load), STUCK_S)


@pytest.fixture
def server() -> Iterator[FinnhubServer]:
    with FinnhubServer() as server:
        yield server


class _Ending:
    """A `tickhouse produce` that is to be ended.

    :ivar log: the content of its log.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._log = folder / "produce.log"
        self._process = start(settings, "produce", log=self._log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        await_(lambda: text in self.log, what=f"{text!r} in its log")

    def end(self) -> float:
        """How many seconds it took to end after SIGTERM, its exit code being 0."""
        began_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(HANG_S)
        took_s = time.monotonic() - began_s
        assert code == 0, self.log
        return took_s

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Callable[[Settings], _Ending]]:
    begun: list[_Ending] = []

    def begin(settings: Settings) -> _Ending:
        begun.append(_Ending(settings, tmp_path))
        return begun[-1]

    yield begin
    for item in begun:
        item.kill()


@pytest.fixture
def live(make_settings: MakeSettings, server: FinnhubServer) -> Settings:
    settings = make_settings(
        tickhouse_feed="simulated", stocks_symbols="A,B", **server.settings("key")
    )
    ensure_topics(settings)
    return settings


Begin = Callable[[Settings], _Ending]


def test_while_all_is_well(live: Settings, server: FinnhubServer, ending: Begin) -> None:
    producer = ending(live)
    server.wait_for("subscribe", 2)
    server.send_trades(("A", SteadyClock().now_ms(), 1))
    stocks(live, until=has_trades("A", 1))
    assert producer.end() < most_s()
    assert server.wait_for("unsubscribe", 2) == ["A", "B"]
    assert "flushed: 1 trades in 1 messages" in producer.log


def test_while_it_waits_to_connect_again(
    live: Settings, server: FinnhubServer, ending: Begin
) -> None:
    server.refuse_with = 429
    producer = ending(live)
    producer.wait_for_log("connection 1 reconnects in")
    assert producer.end() < most_s()


@contextmanager
def _silence_feed() -> Iterator[str]:
    """Accept connections without ever sending anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_while_a_handshake_and_a_rest_call_get_no_answer(
    make_settings: MakeSettings, ending: Begin
) -> None:
    with _silence_feed() as at:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols="A",
            finnhub_api_key="key",
            finnhub_websocket_url=f"ws://{at}",
            finnhub_rest_url=f"http://{at}/api/v1",
        )
        ensure_topics(settings)
        know_server(settings)
        producer = ending(settings)
        producer.wait_for_log("market status could not be requested")
        assert producer.end() < most_s()


def test_while_kafka_was_never_there(live: Settings, server: FinnhubServer, ending: Begin) -> None:
    away = live.model_copy(update={"kafka_brokers": "127.0.0.1:1"})
    producer = ending(away)
    server.wait_for("subscribe", 2)
    server.send_trades(("A", SteadyClock().now_ms(), 1))
    producer.wait_for_log("Waiting for it")
    assert producer.end() < most_s()
    assert SpillFile(away.home / SPILL_FILE).unread > 0


def test_while_kafka_is_away_and_the_server_takes_no_farewell(
    private_kafka: KafkaServer, make_settings: MakeSettings, server: FinnhubServer, ending: Begin
) -> None:
    settings = make_settings(
        tickhouse_feed="simulated",
        stocks_symbols="A",
        kafka_brokers=private_kafka.brokers,
        **server.settings("key"),
    )
    ensure_topics(settings)
    producer = ending(settings)
    server.wait_for("subscribe")
    now_ms = SteadyClock().now_ms()
    server.send_trades(("A", now_ms, 1))
    stocks(settings, until=has_trades("A", 1))
    private_kafka.kill()
    for n in range(1, 1_000):
        server.send_trades(*[("A", now_ms + n, 1)] * 9)
    server.wait_until_read()
    server.freeze()
    assert producer.end() < most_s()
    assert "the next start sends them first" in producer.log
    kept = SpillFile(settings.home / SPILL_FILE).read()
    trades = [record for record in kept if b'"type":"trades"' in record.value]
    assert sum(record.value.count(b'"t":') for record in trades) >= 9 * 999
