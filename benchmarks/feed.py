"""Measure the producer: its CPU time, its memory and its throughput.

Market, producer and Kafka run in separate processes. The market sends prepared frames of the
simulator's exchange in real time. The producer is that of `tickhouse produce`; each frame that it
reads and each message that it hands to Kafka's client is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import psutil
from confluent_kafka import Producer as KafkaProducer
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

import app.feeds.outbox.publisher
from app.contracts import STOCKS_TOPIC, Trades
from app.feeds.clock import SteadyClock
from app.feeds.finnhub.vendor import Finnhub
from app.feeds.finnhub.websocket import FinnhubSocket
from app.feeds.live.producer import Producer
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.protocol import trade_frames
from app.message_parser import decode
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._bench import bench
from benchmarks._report import percentile, report
from benchmarks._workload import SYMBOLS
from tests.support import await_, read_topic

RATES, SECONDS = (1_000, 20_000), 60
STEP_MS = 10
"""The market sends the trades of each such step at its end."""
WARM_UP_S = 5
"""Nothing is counted before this."""
SYMBOL_COUNT = 50

COLUMNS = [
    "trades/s",
    "of a core",
    "CPU a trade",
    "memory",
    "read → Kafka p50",
    "p99",
    "most",
    "sent → Kafka p99",
    "trades a message",
    "lost",
]
PROSE = """\
{symbols} symbols through one connection for {seconds} s of real time, with the exchange and the
framing of the simulator. Kafka, market and producer run on the same machine.

- *of a core*: CPU of the producer's process with all threads, divided by wall time.
- *CPU a trade*: the same CPU, divided by the number of trades sent in that time.
- *memory*: the resident set of the process at the end.
- *read → Kafka*: from reading a frame from the WebSocket until its oldest trade is passed to the
  Kafka client.
- *sent → Kafka*: from the market's send call on its WebSocket, so it includes loopback and
  scheduling.
- *trades a message*: frames that wait in the socket are coalesced, which increases this figure.
- *lost*: trades that were sent and are not in Kafka.

Aims: 15 % of a core, 120 MB and a p99 of 2 ms at 1,000 trades a second; 20,000 trades a second on
one core."""

_FRAME = re.compile(rb'"frame":(\d+)')


class ProducerCost(NamedTuple):
    """The cost and the results of a run."""

    cpu_share: float
    cpu_a_trade_us: float
    memory_mb: float
    read_to_kafka_ms: list[float]
    sent_to_kafka_ms: list[float]
    trades: int
    messages: int
    lost: int


def market(pipe: Connection, rate: int, seconds: int) -> None:
    """Serve one client at `rate` trades per second; send its port, and the time of each frame."""
    asyncio.run(_serve(pipe, rate, seconds))


async def _serve(pipe: Connection, rate: int, seconds: int) -> None:
    begin_ms = int(time.time() * 1000) + (seconds * rate // 15_000 + 10) * 1000
    symbols = SYMBOLS[:SYMBOL_COUNT]
    rng, exchange = Random(1), Exchange(1, rate, begin_ms)
    steps = [
        (at_ms, trade_frames(exchange.step(at_ms, symbols), rng))
        for at_ms in range(begin_ms + STEP_MS, begin_ms + seconds * 1000, STEP_MS)
    ]
    sent_ns = array("q")
    done = asyncio.Event()

    def reject_rest(socket: ServerConnection, request: Request) -> Response | None:
        return socket.respond(404, "{}") if request.path.startswith("/api/") else None

    async def serve_client(socket: ServerConnection) -> None:
        for _ in symbols:
            await socket.recv()
        for at_ms, frames in steps:
            if at_ms == begin_ms + WARM_UP_S * 1000:
                pipe.send("warm")
            await asyncio.sleep(max(0.0, at_ms / 1000 - time.time()))
            for frame in frames:
                sent_ns.append(time.monotonic_ns())
                await socket.send(frame, text=True)
        done.set()
        with suppress(ConnectionClosed):
            await socket.wait_closed()

    async with serve(
        serve_client, "127.0.0.1", 0, compression=None, process_request=reject_rest
    ) as server:
        pipe.send(next(iter(server.sockets)).getsockname()[1])
        await done.wait()
        trades = sum(frame.count(b'"t":') for _, frames in steps for frame in frames)
        pipe.send((sent_ns.tolist(), trades))
        await asyncio.to_thread(pipe.recv)


def produce(pipe: Connection, settings: Settings) -> None:
    """Run a producer until stopped; then send the time at which each message was handed over."""
    read_ns, frames, handed_ns = array("q"), array("q"), array("q")

    class TimestampingProducer(KafkaProducer):  # type: ignore[misc]
        def produce(self, topic: str, value: bytes, key: bytes | None, **more: Any) -> None:
            super().produce(topic, value, key, **more)
            if found := _FRAME.search(value):
                frames.append(int(found[1]))
                handed_ns.append(time.monotonic_ns())

    async def timestamped_frames(socket: FinnhubSocket) -> AsyncIterator[bytes]:
        async for raw in frames_of(socket):
            read_ns.append(time.monotonic_ns())
            yield raw

    frames_of = FinnhubSocket.frames
    FinnhubSocket.frames = timestamped_frames  # type: ignore[method-assign, assignment]
    app.feeds.outbox.publisher.Producer = TimestampingProducer  # type: ignore[attr-defined]

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().run_in_executor(None, _then(pipe, stop.set))
        await Producer(settings, Finnhub(settings), SteadyClock(), Random(1)).run(stop)

    asyncio.run(run())
    pipe.send((read_ns.tolist(), frames.tolist(), handed_ns.tolist()))


def _then(pipe: Connection, call: Callable[[], Any]) -> Callable[[], Any]:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        pipe.recv()
        loop.call_soon_threadsafe(call)

    return wait


def measure(settings: Settings, rate: int, seconds: int) -> ProducerCost:
    """Measure one run, in a new namespace."""
    spawn = get_context("spawn")
    market_end, market_pipe = spawn.Pipe()
    server = spawn.Process(target=market, args=(market_pipe, rate, seconds + WARM_UP_S))
    server.start()
    port = market_end.recv()
    settings = settings.model_copy(
        update={
            "tickhouse_feed": "simulated",
            "tickhouse_namespace": f"feed-{rate}",
            "stocks_symbols": tuple(SYMBOLS[:SYMBOL_COUNT]),
            "finnhub_api_key": SecretStr("key"),
            "finnhub_websocket_url": f"ws://127.0.0.1:{port}",
            "finnhub_rest_url": f"http://127.0.0.1:{port}/api/v1",
        }
    )
    ensure_topics(settings)
    producer_end, producer_pipe = spawn.Pipe()
    producer = spawn.Process(target=produce, args=(producer_pipe, settings))
    producer.start()
    process = psutil.Process(producer.pid)
    assert market_end.recv() == "warm"
    began_s, cpu_s = time.monotonic(), sum(process.cpu_times()[:2])
    sent_ns, trades = market_end.recv()
    await_(lambda: _in_kafka(settings)[0] >= trades, 60, "every trade to be in Kafka")
    cpu_s = sum(process.cpu_times()[:2]) - cpu_s
    wall_s = time.monotonic() - began_s
    memory_mb = process.memory_info().rss / 1e6
    producer_end.send("stop")
    read_ns, frames, handed_ns = producer_end.recv()
    market_end.send("stop")
    for child in (producer, server):
        child.join()
    warm_ns = sent_ns[0] + WARM_UP_S * 1_000_000_000
    handed = ((number - 1, at) for number, at in zip(frames, handed_ns, strict=True))
    warm = [(frame, at_ns) for frame, at_ns in handed if read_ns[frame] > warm_ns]
    arrived, messages = _in_kafka(settings)
    return ProducerCost(
        cpu_s / wall_s,
        cpu_s / (rate * seconds) * 1e6,
        memory_mb,
        [(at_ns - read_ns[frame]) / 1e6 for frame, at_ns in warm],
        [(at_ns - sent_ns[frame]) / 1e6 for frame, at_ns in warm],
        arrived,
        messages,
        trades - arrived,
    )


def _in_kafka(settings: Settings) -> tuple[int, int]:
    """Return the number of trades and of their messages."""
    records = read_topic(settings, STOCKS_TOPIC)
    found = [decode(record.key(), record.value(), "simulated").message for record in records]
    sizes = [len(message.trades) for message in found if isinstance(message, Trades)]
    return sum(sizes), len(sizes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="trades a second")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--keep", action="store_true", help="leave the result though cut short")
    given = parser.parse_args()
    costs: dict[int, ProducerCost] = {}
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as settings:
        for rate in given.rates:
            costs[rate] = measure(settings, rate, given.seconds)
    report(
        "feed",
        "The producer's cost",
        COLUMNS,
        [_row(rate, cost) for rate, cost in costs.items()],
        {rate: _figures(cost) for rate, cost in costs.items()},
        PROSE.format(symbols=SYMBOL_COUNT, seconds=given.seconds),
        keep=given.keep or len(sys.argv) == 1,
    )


def _figures(cost: ProducerCost) -> dict[str, Any]:
    waits = {
        name: {
            "p50": percentile(figures, 50),
            "p99": percentile(figures, 99),
            "most": max(figures),
        }
        for name, figures in cost._asdict().items()
        if isinstance(figures, list)
    }
    return cost._asdict() | waits


def _row(rate: int, cost: ProducerCost) -> list[str]:
    figures = _figures(cost)
    own, complete = figures["read_to_kafka_ms"], figures["sent_to_kafka_ms"]
    return [
        f"{rate:,}",
        f"{cost.cpu_share:.1%}",
        f"{cost.cpu_a_trade_us:.1f} µs",
        f"{cost.memory_mb:.0f} MB",
        *(f"{own[name]:,.2f} ms" for name in ("p50", "p99", "most")),
        f"{complete['p99']:,.2f} ms",
        f"{cost.trades / cost.messages:.2f}",
        f"{cost.lost:,}",
    ]


if __name__ == "__main__":
    main()
