"""Recompute the candles without disturbances from the same topic, and compare.

This runs in a container with the stack's image and network, given as standard input: `python -
<FILE`. The producer must have stopped, and the candles worker must have caught up. The messages of
stocks-topic are copied to the topic of another namespace, partition by partition in order. A single
new worker computes their candles. The last revision of each candle, of all intervals, must be equal
in all fields. Gold must equal candles-1m, and contain its candles from the first on. It prints its
figures; the exit code is 1 if a candle differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from app.contracts import CANDLES_TOPIC, ROLLUP_TOPICS, STOCKS_TOPIC
from app.health.observe import Observer
from app.kafka_reads import read_to_end
from app.settings import Settings, load_settings
from app.topics import ensure_topics
from app.warehouse.published import current_path

READ_S = 60.0
CATCH_UP_S = 300.0
GOLD_BEHIND_MS = 3 * 60_000
PRICES = ("open", "high", "low", "close")

Candles = dict[tuple[str, int], dict[str, Any]]


def main() -> None:
    """Copy, compute, compare, and print the figures."""
    stack = load_settings()
    other = stack.model_copy(update={"tickhouse_namespace": "undisturbed"})
    wait_until_idle(stack)
    copied = copy_trades(stack, other)
    run_candles(other)
    candles, different = 0, []
    for topic in (CANDLES_TOPIC, *ROLLUP_TOPICS.values()):
        got, want = last_revisions(stack, topic), last_revisions(other, topic)
        candles += len(want)
        different += differences(topic, got, want)
    minutes = last_revisions(stack, CANDLES_TOPIC)
    trades = sum(candle["trade_count"] for candle in minutes.values())
    in_gold, wrong = compare_gold(stack, minutes)
    different += wrong
    print(
        f"{trades:,} trades in {copied:,} messages, {candles:,} candles, {in_gold:,} of them in "
        f"gold: {len(different) or 'none'} differ",
        *different[:10],
        sep="\n",
    )
    sys.exit(1 if different or not trades or not in_gold else 0)


def messages(settings: Settings, topic: str) -> Iterator[Message]:
    """Yield all committed messages of a topic, each partition in order."""
    consumer = Consumer(
        settings.kafka_client()
        | {
            "group.id": "compose-test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    name = settings.named(topic)
    partitions = consumer.list_topics(name, timeout=READ_S).topics[name].partitions
    starts = [TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions]
    try:
        yield from read_to_end(consumer, starts, READ_S)
    finally:
        consumer.close()


def wait_until_idle(settings: Settings) -> None:
    """Wait until the candles worker has committed all of stocks-topic."""
    observer = Observer(settings)
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        lag = observer.observe(time.time_ns() // 1_000_000).lag.get("candles")
        if lag == 0:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"The candles worker of {settings.named('')!r} is behind by {lag}.")
        time.sleep(2)


def copy_trades(source: Settings, target: Settings) -> int:
    """Copy stocks-topic to the target's namespace; return the number of messages."""
    ensure_topics(target)
    producer = Producer(target.kafka_client() | {"enable.idempotence": True})
    count = 0
    for message in messages(source, STOCKS_TOPIC):
        while True:
            try:
                producer.produce(
                    target.named(STOCKS_TOPIC),
                    message.value(),
                    key=message.key(),
                    partition=message.partition(),
                    timestamp=message.timestamp()[1],
                    headers=message.headers(),
                )
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    if producer.flush(READ_S):
        raise SystemExit("Kafka did not take all messages of the copy.")
    return count


def run_candles(settings: Settings) -> None:
    """Run a new candles worker until it has processed all messages."""
    variables = {"TICKHOUSE_NAMESPACE": settings.tickhouse_namespace, "TICKHOUSE_DATA_DIR": "/tmp"}
    worker = subprocess.Popen(
        ["tickhouse", "candles"], env=os.environ | variables, stdout=sys.stderr
    )
    try:
        wait_until_idle(settings)
    finally:
        worker.terminate()
        worker.wait(60)


def last_revisions(settings: Settings, topic: str) -> Candles:
    """Return the last revision of each candle of `topic`, by symbol and start."""
    found: Candles = {}
    for message in messages(settings, topic):
        candle = json.loads(message.value() or b"{}", parse_float=Decimal)
        key = candle["symbol"], candle["window_start"]
        if key not in found or (candle["revision"] or 0) >= (found[key]["revision"] or 0):
            found[key] = candle
    return found


def differences(topic: str, got: Candles, want: Candles) -> list[str]:
    """Return a line for each candle that differs between both runs."""
    lines = [f"{topic} {key}: missing" for key in want.keys() - got.keys()]
    lines += [f"{topic} {key}: not in the undisturbed run" for key in got.keys() - want.keys()]
    for key in got.keys() & want.keys():
        ours, other = got[key], want[key]
        fields = [n for n in ours if ours[n] != other.get(n)]
        lines += [f"{topic} {key}: {n} {ours[n]} and {other.get(n)}" for n in fields]
    return sorted(lines)


def compare_gold(settings: Settings, minutes: Candles) -> tuple[int, list[str]]:
    """Return the number of candles in gold, and a line for each that differs from Kafka's.

    Gold may lack the newest candles, and may hold an older revision of a candle.
    """
    file = current_path(settings)
    if file is None:
        return 0, ["gold: nothing is published"]
    columns = ", ".join(f"candle_{n}" for n in PRICES) + ", volume, trade_count, revision"
    with duckdb.connect(str(file), read_only=True) as gold:
        rows = gold.execute(
            f"select symbol, epoch_ms(candle_time), {columns} from gold.gold_candlestick"
        ).fetchall()
    loaded = {(symbol, start): values for symbol, start, *values in rows}
    wrong = [] if len(loaded) == len(rows) else ["gold: a candle is there twice"]
    wrong += [f"gold {key}: not in Kafka" for key in loaded.keys() - minutes.keys()]
    until = max((start for _, start in loaded), default=0) - GOLD_BEHIND_MS
    for key, candle in minutes.items():
        if key not in loaded:
            if key[1] < until:
                wrong.append(f"gold {key}: missing")
        elif candle["revision"] == loaded[key][-1] and gold_values(candle) != loaded[key]:
            wrong.append(f"gold {key}: {loaded[key]}, Kafka {candle}")
    return len(rows), wrong


def gold_values(candle: dict[str, Any]) -> list[Any]:
    """Return the values that gold should have for a candle in Kafka."""
    decimals = [candle[name] for name in (*PRICES, "volume")]
    floats = [None if value is None else float(value) for value in decimals]
    return [*floats, candle["trade_count"], candle["revision"]]


if __name__ == "__main__":
    main()
