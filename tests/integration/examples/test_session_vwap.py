"""The worked example on real Kafka, ended in mid-run: each point once, corrections in place."""

from __future__ import annotations

import sys
from collections import defaultdict
from decimal import Decimal
from random import Random
from subprocess import Popen

import msgspec
import pytest

from app.contracts import CANDLES_TOPIC, Candle, encode
from app.topics import ensure_topics
from examples.session_vwap import GROUP, POINTS_TOPIC, Point, SessionStates, apply_candle
from tests.candle_maker import candle
from tests.integration.feeder import Feeder
from tests.support import (
    await_,
    await_consumed,
    committed_offsets,
    read_topic,
    start,
    stop,
)

PROGRAM = (sys.executable, "-m", "examples.session_vwap")


def candles(seed: int, minutes: int) -> list[Candle]:
    """Minutes of three symbols, every fifth revised some minutes later."""
    random, made = Random(seed), []
    for number in range(minutes):
        for symbol in ("SPY", "AIG", "BAC"):
            volume = Decimal(random.randint(0, 500))
            item = candle(symbol, number, random.randint(100, 120), volume=volume)
            made.append(item)
            if number >= 9 and random.random() < 0.2:
                earlier = number - random.randint(1, 9)
                made.append(
                    candle(symbol, earlier, 110, volume=volume + 700, revision=1, status="revised")
                )
    return made


def politely(worker: Popen[bytes]) -> None:
    assert stop(worker) == 0


def by_kill(worker: Popen[bytes]) -> None:
    worker.kill()
    worker.wait()


@pytest.mark.parametrize(
    ("end", "minutes"),
    [(politely, 200), pytest.param(by_kill, 3_000, marks=pytest.mark.drill)],
    ids=["politely", "by kill"],
)
def test_each_point_is_written_once_though_the_worker_was_ended(
    make_settings, tmp_path, end, minutes
):
    settings = make_settings(kafka_partitions=2, candle_commit_interval_s=0.2)
    ensure_topics(settings)
    sent = candles(seed=4, minutes=minutes)
    feeder = Feeder(
        settings, [(item.symbol.encode(), encode(item)) for item in sent], 2, CANDLES_TOPIC
    )
    log = tmp_path / "log"

    def committed() -> int:
        return sum(committed_offsets(settings, CANDLES_TOPIC, GROUP).values())

    worker = start(settings, log=log, program=PROGRAM)
    feeder.release()
    await_(lambda: committed() == feeder.part, what="all commits of the first half")
    feeder.release()
    await_(lambda: committed() > feeder.part, what="a commit in the second half")
    end(worker)
    assert committed() < len(sent), "too late to show anything"
    worker = start(settings, log=log, program=PROGRAM)
    try:
        feeder.finish()
        await_(lambda: log.read_text().count("The application started") == 2, what="the restart")
        await_consumed(settings, CANDLES_TOPIC, GROUP)
    finally:
        assert stop(worker) == 0, log.read_text()

    expected: dict[str, list[Point]] = defaultdict(list)
    kept: dict[str, SessionStates] = defaultdict(dict)
    for item in sent:
        expected[item.symbol] += apply_candle(
            kept[item.symbol], item, settings.candle_allowed_lateness_ms
        )
    written: dict[str, list[Point]] = defaultdict(list)
    for message in read_topic(settings, POINTS_TOPIC):
        written[message.key().decode()].append(msgspec.json.decode(message.value(), type=Point))
    assert written == expected
