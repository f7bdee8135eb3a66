"""Several producers on one machine: a key is used once, and of two either may be killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from pydantic import SecretStr

from app.contracts import Message, Trades, conditions_of
from app.feeds.simulator.delivery_log.ledger import expected_trades
from app.feeds.simulator.delivery_log.log import read_deliveries
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.simulator_process import simulator_process
from tests.integration.feeds.topic_reader import stocks
from tests.support import HANG_S, start, stop

SYMBOLS = ("AAPL", "SPY", "TSLA", "BINANCE:BTCUSDT")
KEYS = ("marker-key-a", "marker-key-b")


@pytest.fixture
def produce(tmp_path: Path) -> Iterator[Callable[[Settings], Popen[bytes]]]:
    """Starts `tickhouse produce`; what still runs at the end is ended."""
    begun: list[Popen[bytes]] = []

    def begin(settings: Settings) -> Popen[bytes]:
        begun.append(start(settings, "produce", log=tmp_path / f"produce-{len(begun)}.log"))
        return begun[-1]

    yield begin
    for item in begun:
        stop(item)


Produce = Callable[[Settings], "Popen[bytes]"]
MakeSettings = Callable[..., Settings]


def test_a_second_process_with_a_key_stops_before_it_connects(
    make_settings: MakeSettings, tmp_path: Path, produce: Produce
) -> None:
    with FinnhubServer() as server:
        make_setting = make_settings(
            tickhouse_feed="simulated", stocks_symbols="A", **server.settings(KEYS[0])
        )
        ensure_topics(make_setting)
        first = produce(make_setting)
        server.wait_for("subscribe")
        second = produce(make_setting.model_copy(update={"tickhouse_data_dir": tmp_path / "other"}))
        assert second.wait(HANG_S) == 1
        reported = (tmp_path / "produce-1.log").read_text()
        assert f"Key 1 of FINNHUB_API_KEY is used by process {first.pid} already" in reported
        assert KEYS[0] not in reported
        assert ("open", KEYS[0]) not in server.received.queue
        first.kill()
        first.wait()
        produce(make_setting)
        server.wait_for("subscribe")


def _identities(messages: list[Message]) -> set[object]:
    return {
        (message.symbol, t.t, t.p, t.v, conditions_of(t.c), t.k)
        for message in messages
        if isinstance(message, Trades)
        for t in message.trades
    }


def test_of_two_producers_either_may_be_killed_and_nothing_is_lost(
    make_settings: MakeSettings, tmp_path: Path, produce: Produce
) -> None:
    log = tmp_path / "deliveries.jsonl"
    options = ("--rate", "300", "--token", ",".join(KEYS))
    with simulator_process(*options, log=log, folder=tmp_path) as simulator:
        settings = make_settings(
            tickhouse_feed="simulated", stocks_symbols=SYMBOLS, finnhub_api_key=KEYS[0]
        )
        a = simulator.settings(settings)
        other = {"tickhouse_data_dir": tmp_path / "b", "finnhub_api_key": SecretStr(KEYS[1])}
        b = a.model_copy(update=other)
        ensure_topics(a)

        def sent(connections: int, least: int) -> int:
            """Return how many trades the last of `connections` has, once at least `least`."""
            counts: Counter[str] = Counter()  # in the order in which connections began

            def last() -> int:
                return [*counts.values()][-1]

            def enough(messages: list[Message]) -> bool:
                message = messages[-1]
                if isinstance(message, Trades):
                    counts[message.connection] += len(message.trades)
                return len(counts) == connections and last() >= least

            stocks(a, until=enough)
            return last()

        first, second = produce(a), produce(b)
        sent(2, 300)
        first.kill()
        first = produce(a)
        so_far = sent(3, 300)
        second.kill()
        sent(3, so_far + 500)
        assert stop(first) == 0
        simulator.stop()
    found = expected_trades(read_deliveries(log))
    wanted = {(t.symbol, t.t, t.p, t.v, conditions_of(t.c), t.k) for t in found.trades}
    assert len(wanted) > 1_000
    assert _identities(stocks(a)) == wanted
