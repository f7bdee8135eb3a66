"""Measure latency from trade to candle: a real-time feed, a worker with defaults, readers.

Feeder and readers are separate processes, on the clock that all processes of a machine share. The
feeder creates messages and watermarks as the producer does (`app.feeds.live.session`), with one
trade per frame, and sends each at once (linger 0).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_END, Producer, TopicPartition

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    STOCKS_TOPIC,
    Message,
    RejectionRecord,
    Trades,
    decode_candle,
    encode,
)
from app.feeds.clock import SteadyClock
from app.feeds.finnhub.frames import parse_frame
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.outbox.publisher import producer_settings
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._bench import Group, bench, worker_log
from benchmarks._report import percentile, report
from benchmarks._workload import MINUTE_MS, SYMBOLS, zipf
from tests.support import await_, consumer, running

RATE, SECONDS, LEAST_SECONDS = 1_000, 150, 70
WARM_UP_S = 10
"""Nothing is counted before this: the worker's first checkpoints open files and load code."""
TAIL_S = 10
"""How long readers continue after the end of the feed."""
SETTLED_S = 2
"""Trades of the feed's last seconds are left out: they may wait for a message that never comes."""

COLUMNS = ["what", "aim", "p50", "p99", "most", "of"]
PROSE = """\
{rate:,} trades a second of {symbols} symbols, Zipf-distributed, one trade a message, for {seconds}
s of real time, with watermarks as the producer sends them. `tickhouse candles` runs with its
default settings. Kafka, feeder and readers run on the same machine.

- *message → partial*: from the feeder's call of its Kafka client until a reader of `candles-live`
  (read uncommitted) has the partial candle that this message emitted; {share:.0%} of the messages
  emitted one.
- *trade → candles-live*: until a candle that includes the trade has arrived, for all trades.
- *minute's end → final*: until a read-committed reader of `candles-1m` has the final candle. The
  grace is {grace_s:.0f} s, and the worker commits each {commit_s:.0f} s.
"""


class SentMessage(NamedTuple):
    """A message of trades: its position, its symbol, and when it was sent."""

    partition: int
    offset: int
    stamp_ms: int
    """Its Kafka timestamp."""
    symbol: str
    minute: int
    at_ns: int


class Seen(NamedTuple):
    """A candle as it reached a reader."""

    partition: int
    stamp_ms: int
    """Its Kafka timestamp, which is that of the message that emitted it."""
    symbol: str
    minute: int
    last_offset: int
    at_ns: int
    wall_ms: float


def feed(settings: Settings, rate: int, seconds: float) -> list[SentMessage]:
    """Send `rate` trades per second in real time; return what was sent, without the warm-up."""
    clock, rng = SteadyClock(), Random(1)
    sent: list[SentMessage] = []
    producer = Producer(
        producer_settings(settings) | {"linger.ms": 0, "delivery.report.only.error": False}
    )
    topic = settings.named(STOCKS_TOPIC)
    began = time.monotonic_ns()
    counts_from = began + WARM_UP_S * 1_000_000_000

    def publish(messages: Iterable[Message | RejectionRecord]) -> None:
        for message in messages:
            assert not isinstance(message, RejectionRecord), message
            callback = (
                _delivery_callback(sent, message, counts_from)
                if isinstance(message, Trades)
                else None
            )
            producer.produce(topic, encode(message), message.symbol, on_delivery=callback)
        producer.poll(0)

    session = FeedSession(
        SessionConfig(
            feed="replay",
            source="bench",
            grace_ms=settings.candle_grace_ms,
            allowed_lateness_ms=settings.candle_allowed_lateness_ms,
        ),
        parse_frame=parse_frame,
        symbols=SYMBOLS,
        clock=clock,
    )
    session.connected("bench-1")
    tick, symbols = began, zipf(rng)
    for number in range(int(rate * seconds)):
        due = began + number * 1_000_000_000 // rate
        if (left := due - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        if due - tick >= 1_000_000_000:
            tick += 1_000_000_000
            publish(session.each_second())
        publish(session.frame(_frame(rng, next(symbols), clock.now_ms())))
    assert producer.flush(30) == 0
    return sent


def _delivery_callback(sent: list[SentMessage], message: Trades, counts_from: int) -> Any:
    at_ns = time.monotonic_ns()
    minute = message.trades[0].t // MINUTE_MS * MINUTE_MS

    def delivered(error: Any, record: Any) -> None:
        assert error is None, error
        if at_ns >= counts_from:
            place = record.partition(), record.offset(), record.timestamp()[1]
            sent.append(SentMessage(*place, message.symbol, minute, at_ns))

    return delivered


def _frame(rng: Random, symbol: str, now_ms: int) -> bytes:
    codes = b'["1","12"]' if rng.random() < 0.45 else b'["1"]'
    price, size, t = rng.randint(9_900, 10_100), rng.randint(1, 500), now_ms - rng.randint(0, 100)
    return b'{"data":[{"c":%b,"p":%d.%02d,"s":"%b","t":%d,"v":%d}],"type":"trade"}' % (
        codes,
        price // 100,
        price % 100,
        symbol.encode(),
        t,
        size,
    )


def watch(settings: Settings, topic: str, isolation: str, seconds: float) -> list[Seen]:
    """Return every candle that reaches a reader of `topic` within `seconds`."""
    reader = consumer(settings, isolation)
    name = settings.named(topic)
    partitions = range(settings.kafka_partitions)
    reader.assign([TopicPartition(name, number, OFFSET_END) for number in partitions])
    until_ns = time.monotonic_ns() + int(seconds * 1e9)
    came = []
    while time.monotonic_ns() < until_ns:
        record = reader.poll(0.5)
        if record is not None and not record.error():
            came.append((record, time.monotonic_ns(), time.time()))
    reader.close()
    return [_seen(*item) for item in came]


def _seen(record: Any, at_ns: int, wall_s: float) -> Seen:
    c = decode_candle(record.value())
    place = record.partition(), record.timestamp()[1]
    return Seen(*place, c.symbol, c.window_start, c.last_offset, at_ns, wall_s * 1000)


def first_partial_ms(sent: list[SentMessage], partials: list[Seen]) -> list[float]:
    """Return, for each message that emitted a partial, how long until the reader had it.

    A partial emitted by a later message may name this one as its last, but does not have its
    timestamp.
    """
    at = {
        (partial.partition, partial.last_offset, partial.stamp_ms): partial.at_ns
        for partial in reversed(partials)
    }
    keys = [(item, (item.partition, item.offset, item.stamp_ms)) for item in sent]
    return [(at[key] - item.at_ns) / 1e6 for item, key in keys if key in at]


def until_counted_ms(sent: list[SentMessage], seen: list[Seen]) -> list[float]:
    """Return, for each message, how long until a candle of its minute counted it.

    :raises AssertionError: one was never counted.
    """
    candles: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for item in sorted(seen, key=lambda item: item.at_ns):
        candles[item.symbol, item.minute].append(item)
    waited = []
    for message in sent:
        counted = (
            candle
            for candle in candles[message.symbol, message.minute]
            if candle.last_offset >= message.offset
        )
        first = next(counted, None)
        assert first is not None, f"{message} was never seen"
        waited.append((first.at_ns - message.at_ns) / 1e6)
    return waited


def measure(settings: Settings, rate: int, seconds: float) -> dict[str, Any]:
    """Run feed, worker and readers together; return the page's figures, in milliseconds."""
    ensure_topics(settings)
    log = worker_log(settings)
    with running(settings, "candles", log=log):
        group = Group(settings, range(settings.kafka_partitions))
        await_(group.assigned, 120, "the worker to join")
        group.close()
        with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
            full_s = seconds + TAIL_S
            live = pool.submit(watch, settings, LIVE_TOPIC, "read_uncommitted", full_s)
            finals = pool.submit(watch, settings, CANDLES_TOPIC, "read_committed", full_s)
            sent = pool.submit(feed, settings, rate, seconds).result()
            return figures(sent, live.result(), finals.result())


def figures(sent: list[SentMessage], partials: list[Seen], finals: list[Seen]) -> dict[str, Any]:
    """Return the measured figures, in milliseconds."""
    emitted = first_partial_ms(sent, partials)
    last_ns = max(item.at_ns for item in sent) - SETTLED_S * 1_000_000_000
    settled = [item for item in sent if item.at_ns <= last_ns]
    ends = [final.wall_ms - final.minute - MINUTE_MS for final in finals]
    return {
        "share": len(emitted) / len(sent),
        "message_to_partial_ms": _summary(emitted),
        "trade_to_live_ms": _summary(until_counted_ms(settled, [*partials, *finals])),
        "end_to_final_ms": _summary(ends),
    }


def _summary(figures_ms: list[float]) -> dict[str, float]:
    return {
        "p50": percentile(figures_ms, 50),
        "p99": percentile(figures_ms, 99),
        "most": max(figures_ms),
        "count": len(figures_ms),
    }


def table(found: dict[str, Any], grace_ms: int) -> list[list[str]]:
    """Return rows for `COLUMNS`."""
    lines = [
        ("message → partial", "p50 < 3 ms, p99 < 15 ms", "message_to_partial_ms"),
        ("trade → candles-live", "most < 1,100 ms", "trade_to_live_ms"),
        ("minute's end → final", f"p99 < {grace_ms + 2_000:,} ms", "end_to_final_ms"),
    ]
    return [
        [
            what,
            aim,
            *(f"{found[key][name]:,.1f} ms" for name in ("p50", "p99", "most")),
            f"{found[key]['count']:,}",
        ]
        for what, aim, key in lines
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=RATE, help="trades a second")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"at least {LEAST_SECONDS}")
    parser.add_argument("--keep", action="store_true", help="leave the result though cut short")
    given = parser.parse_args()
    if given.seconds < LEAST_SECONDS:
        parser.error(f"--seconds must be at least {LEAST_SECONDS}: else no minute ends")
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as settings:
        found = measure(settings, given.rate, given.seconds)
    report(
        "latency",
        f"Latency at {given.rate:,} trades a second",
        COLUMNS,
        table(found, settings.candle_grace_ms),
        found,
        PROSE.format(
            rate=given.rate,
            symbols=len(SYMBOLS),
            seconds=given.seconds,
            share=found["share"],
            grace_s=settings.candle_grace_ms / 1000,
            commit_s=settings.candle_commit_interval_s,
        ),
        keep=given.keep or len(sys.argv) == 1,
    )


if __name__ == "__main__":
    main()
