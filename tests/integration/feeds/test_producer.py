"""The producer between a server that speaks Finnhub's protocol and a real Kafka."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.contracts import STOCKS_TOPIC, Quote, Trades, Watermark, decode_rejection, encode
from app.embedded.environment import child_environment
from app.embedded.kafka import KafkaServer
from app.errors import TickhouseError
from app.feeds.clock import SteadyClock
from app.feeds.finnhub.websocket import FEED_HEADER
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE
from app.feeds.live.command import run
from app.feeds.live.source import SourceError, only_one
from app.feeds.outbox.outbox import SPILL_FILE
from app.feeds.outbox.spill_file import SpillFile
from app.feeds.simulator.delivery_log.log import Sent, read_deliveries
from app.feeds.vendor import BadKeyError
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.producing import has_trades, produce, producing
from tests.integration.feeds.topic_reader import rejected, stocks, trades_of
from tests.support import TICKHOUSE, await_, delete_topics

TOKEN = "marker-token/with+signs"
ROOT = Path(__file__).resolve().parents[3]
NOW = SteadyClock().now_ms()
MakeSettings = Callable[..., Settings]


@pytest.fixture
def server() -> Iterator[FinnhubServer]:
    with FinnhubServer() as server:
        yield server


@pytest.fixture
def live(make_settings: MakeSettings, server: FinnhubServer) -> Settings:
    """Settings of a producer of the symbols A and B on `server`, its topics made."""
    settings = make_settings(
        tickhouse_feed="simulated", stocks_symbols="A,B", **server.settings(TOKEN)
    )
    ensure_topics(settings)
    return settings


def test_trades_arrive_in_order_and_again_after_a_reconnect(
    live: Settings, server: FinnhubServer
) -> None:
    with producing(live):
        assert server.wait_for("subscribe", 2) == ["A", "B"]
        server.send_trades(("A", NOW, 1), ("B", NOW, 2), ("A", NOW, 1))
        stocks(live, until=has_trades("A", 2))
        server.drop()
        assert server.wait_for("subscribe", 2) == ["A", "B"]
        server.send_trades(("A", NOW, 1), ("A", NOW + 1, 3))
        messages = stocks(live, until=has_trades("A", 4))
    assert [(t.t - NOW, t.k) for t in trades_of(messages, "A")] == [(0, 0), (0, 1), (0, 0), (1, 0)]
    assert len({m.connection for m in messages if isinstance(m, Trades)}) == 2
    assert len({m.source for m in messages}) == 1


def test_a_server_that_sends_every_frame_three_times_is_received_once(
    live: Settings, server: FinnhubServer
) -> None:
    with producing(live):
        server.wait_for("subscribe", 2)
        for n in range(20):
            for _ in range(3):
                server.send_trades(("A", NOW + n, 1))
        messages = stocks(live, until=has_trades("A", 20))
    assert [(t.t - NOW, t.k) for t in trades_of(messages, "A")] == [(n, 0) for n in range(20)]


def test_what_is_malformed_is_recorded_and_nothing_else_is_lost(
    live: Settings, server: FinnhubServer
) -> None:
    good = f'{{"c":null,"p":1,"s":"A","t":{NOW},"v":1}}'
    with producing(live):
        server.wait_for("subscribe", 2)
        server.send(f'{{"data":[{good},{{"p":NaN,"s":"A","t":{NOW},"v":1}}],"type":"trade"}}')
        server.send("no JSON")
        server.send(b'{"data":[' + b" " * 5_300_000 + b'],"type":"trade"}')
        server.send('{"msg":"Subscribing to too many symbols","type":"error"}')
        server.send_trades(("A", NOW + 1, 1))
        messages = stocks(live, until=has_trades("A", 2))
        records = rejected(live, 3)
        assert {reported for reported, _ in server.received.queue} <= {"subscribe"}, (
            "the connection went on"
        )
    assert [t.t - NOW for t in trades_of(messages, "A")] == [0, 1]
    assert {(r.stage, r.reason) for r in records} == {("feed", "schema")}
    assert sorted(r.size for r in records)[0] == len("no JSON")
    assert [r.indices for r in records].count([1]) == 1
    assert b"no JSON" in {base64.b64decode(r.payload or "") for r in records}


def test_trades_that_no_one_subscribed_are_rejected_and_no_candle_waits_for_them(
    live: Settings, server: FinnhubServer
) -> None:
    with producing(live):
        server.wait_for("subscribe", 2)
        server.send_trades(("A", NOW, 1), ("X", NOW, 2), ("B", NOW, 3))
        server.send_trades(("X", NOW + 1, 2))
        server.send_trades(("A", NOW + 2, 1))
        records = rejected(live, 2)
        messages = stocks(live, until=has_trades("A", 2))
    assert [(r.stage, r.reason, r.indices) for r in records] == [
        ("feed", "unsubscribed", [1]),
        ("feed", "unsubscribed", [0]),
    ]
    frame = json.loads(base64.b64decode(records[0].payload or ""))
    assert [trade["s"] for trade in frame["data"]] == ["A", "X", "B"]
    assert {m.symbol for m in messages} <= {"A", "B"}


@pytest.fixture
def on_private_kafka(
    private_kafka: KafkaServer, make_settings: MakeSettings, server: FinnhubServer
) -> Settings:
    """A producer of A with a Kafka that the test may stop, and a MiB of memory beside it."""
    settings = make_settings(
        tickhouse_feed="simulated",
        stocks_symbols="A",
        kafka_brokers=private_kafka.brokers,
        kafka_buffer_mib=1,
        **server.settings(TOKEN),
    )
    ensure_topics(settings)
    return settings


def test_a_broker_that_is_away_loses_nothing_and_changes_no_order(
    private_kafka: KafkaServer,
    on_private_kafka: Settings,
    server: FinnhubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spill = on_private_kafka.home / SPILL_FILE
    forced: list[int] = []

    def note(file: int) -> None:
        if os.path.samestat(os.fstat(file), spill.stat()):
            forced.append(spill.stat().st_size)

    monkeypatch.setattr(os, "fsync", note)
    with producing(on_private_kafka):
        server.wait_for("subscribe")
        for n in range(2_000):
            if n == 500:
                private_kafka.stop()
            if n == 1_800:
                size = spill.stat().st_size
                assert size > 100_000, "memory was enough"
                await_(lambda: max(forced, default=0) >= size, what="it to be on the disk")  # noqa: B023
                private_kafka.start()
            server.send(_large_frame(n))
        messages = stocks(on_private_kafka, until=has_trades("A", 20_000))
    assert [t.t - NOW for t in trades_of(messages, "A")] == [
        n for n in range(2_000) for _ in "0123456789"
    ]
    assert [t.frame for t in trades_of(messages, "A")][::10] == list(range(1, 2_001))
    assert spill.stat().st_size < 100


def _large_frame(number: int) -> str:
    """Ten trades of 1,000 bytes."""
    codes = json.dumps(["9" * 900, str(number)])
    trade = f'{{"c":{codes},"p":1,"s":"A","t":{NOW + number},"v":1}}'
    return f'{{"data":[{",".join([trade] * 10)}],"type":"trade"}}'


def test_what_kafka_did_not_take_before_the_end_the_next_start_sends_first(
    private_kafka: KafkaServer, on_private_kafka: Settings, server: FinnhubServer
) -> None:
    process = _start(on_private_kafka)
    server.wait_for("subscribe")
    server.send_trades(("A", NOW, 1))
    stocks(on_private_kafka, until=has_trades("A", 1))
    private_kafka.stop()
    for n in range(1, 500):
        server.send_trades(("A", NOW + n, 1))
    server.wait_until_read()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "the next start sends them first" in output
    private_kafka.start()
    process = _start(on_private_kafka)
    server.wait_for("subscribe")
    server.send_trades(("A", NOW + 500, 1))
    messages = stocks(on_private_kafka, until=has_trades("A", 501))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert "messages that an earlier run left" in output
    assert [t.t - NOW for t in trades_of(messages, "A")] == list(range(501))


@pytest.mark.drill
def test_a_topic_that_is_deleted_and_made_again_gets_all_of_it(
    live: Settings, server: FinnhubServer, caplog: pytest.LogCaptureFixture
) -> None:
    sent = 0
    with producing(live):
        server.wait_for("subscribe", 2)
        server.send_trades(("B", NOW, 1))
        stocks(live, until=has_trades("B", 1))
        delete_topics(live, [live.named(STOCKS_TOPIC)])  # until then the old one takes messages
        while "Messages wait until it is created again" not in caplog.text:
            server.send_trades(("A", NOW + sent, 1))
            sent += 1
            server.wait_a_moment()
        ensure_topics(live)
        server.send_trades(("A", NOW + sent, 1))
        messages = stocks(live, until=has_trades("A", sent + 1))
    assert sorted(t.t - NOW for t in trades_of(messages, "A")) == list(range(sent + 1))


def test_coverage_and_quotes_are_reported(live: Settings, server: FinnhubServer) -> None:
    asked: list[tuple[str, str | None]] = []

    def rest(path: str, headers: Any) -> tuple[int, bytes]:
        asked.append((path, headers.get("X-Finnhub-Token")))
        known = {"c": 1.5, "d": None, "dp": 0.1, "h": 2, "l": 1, "o": 1, "pc": 1, "t": NOW // 1000}
        unknown = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
        return 200, json.dumps(known if path.endswith("=A") else unknown).encode()

    server.rest = rest
    with producing(live):
        server.wait_for("subscribe", 2)
        server.send_trades(("A", NOW, 1))
        messages = stocks(
            live,
            until=lambda read: {Quote, Watermark} <= {type(m) for m in read},
        )
    (item,) = [m for m in messages if isinstance(m, Quote)]
    assert (item.symbol, str(item.c), item.d) == ("A", "1.5", None)
    watermark = next(m for m in messages if isinstance(m, Watermark))
    assert watermark.symbol == "A"
    assert watermark.t <= SteadyClock().now_ms() - live.candle_grace_ms
    assert (live.home / CHECKPOINT_FILE).exists()
    assert asked[0][1] == TOKEN
    assert TOKEN not in asked[0][0]


def test_a_rejected_key_ends_it_with_a_sentence(live: Settings, server: FinnhubServer) -> None:
    server.refuse_with = 401
    with pytest.raises(BadKeyError, match=r"rejects the API key \(HTTP 401\)") as caught:
        asyncio.run(produce(live))
    assert TOKEN not in str(caught.value)


def test_a_server_in_trouble_is_asked_again(live: Settings, server: FinnhubServer) -> None:
    server.refuse_with = 502
    with producing(live):
        server.wait_for("open")
        server.refuse_with = None
        assert server.wait_for("subscribe", 2) == ["A", "B"]


def test_a_simulated_server_does_not_feed_a_live_namespace(make_settings: MakeSettings) -> None:
    with FinnhubServer({FEED_HEADER: "simulated"}) as server:
        settings = make_settings(tickhouse_feed="live", **server.settings())
        ensure_topics(settings)
        with pytest.raises(SourceError, match="reports the feed simulated"):
            asyncio.run(produce(settings))


def test_a_producer_pointed_at_a_server_of_another_feed_queues_nothing(
    make_settings: MakeSettings,
) -> None:
    with FinnhubServer({FEED_HEADER: "simulated"}) as server:
        away = {"kafka_brokers": "127.0.0.1:1", "stocks_symbols": ("A", "B")}
        settings = make_settings(tickhouse_feed="live", **(server.settings() | away))
        for _ in range(2):
            with pytest.raises(SourceError, match="reports the feed simulated"):
                asyncio.run(produce(settings))
        spilled = SpillFile(settings.home / SPILL_FILE)
        assert spilled.read() == []
        spilled.close()
        assert not (settings.home / CHECKPOINT_FILE).exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"tickhouse_feed": "replay", "finnhub_api_key": "x"}, "this source is live or simulated"),
        ({"tickhouse_feed": "live"}, "FINNHUB_API_KEY is not set"),
        ({"tickhouse_feed": "simulated", "finnhub_api_key": "x"}, "ws.finnhub.io, the live feed"),
    ],
)
def test_wrong_settings_are_reported_before_anything_is_done(
    make_settings: MakeSettings, overrides: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SourceError, match=sentence):
        run(make_settings(**overrides))


def test_a_data_folder_has_one_producer(live: Settings) -> None:
    with only_one(live, "produce"), pytest.raises(SourceError, match="Another `tickhouse produce`"):
        run(live)


def test_every_trade_the_simulator_delivered_is_in_kafka_in_its_order(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    log = tmp_path / "deliveries.jsonl"
    with simulating(log) as address:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols="AAPL,BINANCE:BTCUSDT",
            finnhub_websocket_url=f"ws://{address}",
            finnhub_rest_url=f"http://{address}/api/v1",
            finnhub_api_key="key",
        )
        ensure_topics(settings)
        with producing(settings):
            stocks(settings, until=has_trades("AAPL", 500))
    messages = stocks(settings)
    delivered = [
        trade
        for sent in read_deliveries(log)
        if isinstance(sent, Sent) and json.loads(sent.raw)["type"] == "trade"
        for trade in json.loads(sent.raw)["data"]
    ]
    for symbol in settings.stocks_symbols:
        wanted = [(t["t"], t["p"], t["v"]) for t in delivered if t["s"] == symbol]
        got = [(t.t, float(t.p), float(t.v)) for t in trades_of(messages, symbol)]
        assert got == wanted
    assert len({(t.t, t.p, t.v, str(t.c), t.k) for t in trades_of(messages, "AAPL")}) == len(
        trades_of(messages, "AAPL")
    )


@contextmanager
def simulating(log: Path) -> Iterator[str]:
    """A simulator in a process of its own, and its address."""
    code = (
        "import sys, pathlib; from app.feeds.simulator.server.command import run\n"
        "from app.settings import Settings\n"
        "log = pathlib.Path(sys.argv[1])\n"
        "run(Settings(_env_file=None), '127.0.0.1', 0, 500.0, 1, 'key', delivery_log=log)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split("ws://")[1].split()[0].strip("/")
        finally:
            process.terminate()


def _start(settings: Settings, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TICKHOUSE, "produce", *options],
        env=child_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def test_sigterm_reports_farewell_flushes_and_exits_0(
    live: Settings, server: FinnhubServer
) -> None:
    process = _start(live)
    server.wait_for("subscribe", 2)
    server.send_trades(("A", NOW, 1), ("A", NOW + 1, 1))
    stocks(live, until=has_trades("A", 2))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "the symbols cannot change while this runs" in output
    assert "flushed: 2 trades in 1 messages" in output
    assert server.wait_for("unsubscribe", 2) == ["A", "B"]
    assert TOKEN not in output


def test_no_key_is_in_any_connection_file_or_message(
    make_settings: MakeSettings, server: FinnhubServer, tmp_path: Path
) -> None:
    other = "other+marker"
    settings = make_settings(
        tickhouse_feed="simulated", stocks_symbols="A,B", **server.settings(f"{TOKEN},{other}")
    )
    ensure_topics(settings)
    faults = [(500, TOKEN), (200, json.dumps({"c": TOKEN})), (403, other), (429, TOKEN)]
    faults += [(status, f'{{"c":"{_escaped(TOKEN)}"}}') for status in (200, 500)]
    answers = itertools.cycle((status, body.encode()) for status, body in faults)
    server.rest = lambda *_: next(answers)
    recording = tmp_path / "recording.gz"
    process = _start(settings, "--record", str(recording))
    server.wait_for("subscribe", 2)
    forms = (TOKEN, quote(TOKEN, safe=""), _escaped(TOKEN), other, _escaped(other))
    for form in forms:
        server.send(f'{{"type":"error","msg":"no {form}"}}')
        server.send(form)
        server.send(
            f'{{"data":[{{"c":["{form}"],"p":1,"s":"A","t":{NOW},"v":1}},'
            f'{{"c":[],"p":1,"s":"{form}","t":{NOW},"v":1}}],"type":"trade"}}'
        )
    server.send_trades(("A", NOW + 1, 1))
    denied = rejected(settings, 4)
    messages = stocks(settings, until=has_trades("A", 2))
    server.refuse_with = 502
    server.drop()
    server.wait_for("open", 2)
    server.refuse_with = 401
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "127.0.0.1 rejects the API key (HTTP 401). Correct FINNHUB_API_KEY." in output
    assert "HTTP 502" in output
    shown = [output.encode(), gzip.decompress(recording.read_bytes())]
    shown += [base64.b64decode(item.payload or "") + encode(item) for item in denied]
    shown += map(encode, messages)
    files = [path for path in settings.tickhouse_data_dir.rglob("*") if path.is_file()]
    shown += [str(path).encode() + path.read_bytes() for path in files]
    for form in (*forms, quote(other, safe="")):
        escaped = form.replace("\\", "\\\\")  # as JSON and Python write a backslash
        found = (form.encode(), escaped.encode())
        assert not [text for text in shown if any(item in text for item in found)]


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


def test_no_key_waits_for_kafka_on_the_disk(live: Settings, server: FinnhubServer) -> None:
    away = live.model_copy(update={"kafka_brokers": "127.0.0.1:1"})
    process = _start(away)
    server.wait_for("subscribe", 2)
    for key in (TOKEN, quote(TOKEN, safe=""), _escaped(TOKEN)):
        server.send(f"no frame: {key}")
        server.send(f'{{"data":[{{"s":"{key}"}}],"type":"trade"}}')
    server.send_trades(("A", NOW, 1))
    server.wait_until_read()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    kept = SpillFile(live.home / SPILL_FILE).read()
    denied = [decode_rejection(item.value) for item in kept if "rejected" in item.topic]
    assert len(denied) == 4, "frames of trades are equal once they are masked, and repeats"
    files = [path.read_bytes() for path in live.tickhouse_data_dir.rglob("*") if path.is_file()]
    payloads = [base64.b64decode(item.payload or "") for item in denied]
    for text in (output.encode(), *files, *payloads):
        assert b"marker-token" not in text
        assert b"u006d" not in text


def test_without_a_broker_it_waits_with_a_sentence(live: Settings, tmp_path: Path) -> None:
    away = live.model_copy(update={"kafka_brokers": "127.0.0.1:1"})
    process = _start(away)
    assert process.stdout is not None
    line = next(line for line in process.stdout if "KAFKA_BROKERS" in line)
    assert "does not answer" in line
    assert "Waiting for it" in line
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_broken_checkpoint_is_named(live: Settings) -> None:
    live.home.mkdir(parents=True, exist_ok=True)
    (live.home / CHECKPOINT_FILE).write_text("{")
    with pytest.raises(TickhouseError, match=r"coverage checkpoint .* cannot be read"):
        run(live)
