"""When a worker hangs or the broker is slow or down, the others wait and nothing is lost."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from app.contracts import LIVE_TOPIC, STOCKS_TOPIC
from app.topics import ensure_topics
from tests.integration.feeder import Feeder
from tests.integration.topologies.crash_driver import (
    PATIENCE_S,
    await_commit,
    difference,
    outputs,
    undisturbed,
)
from tests.integration.topologies.workload import messages
from tests.support import HANG_S, await_, await_consumed, end_offsets, running, start

GROWTH = 64 * 1024 * 1024
"""Bytes by which a worker may grow while it waits."""


def test_a_second_worker_with_the_same_number_stops_with_an_error(make_settings, tmp_path):
    settings = make_settings(tickhouse_instance=3)
    first, second = tmp_path / "first", tmp_path / "second"
    with running(settings, "candles", log=first) as worker:
        await_(lambda: "instance 3 reads" in first.read_text(), what="the first worker")
        assert start(settings, "candles", log=second).wait(HANG_S) == 1
        assert worker.poll() is None
    assert "Another worker runs as instance 3" in second.read_text()
    assert "Traceback" not in second.read_text()


@pytest.mark.drill
def test_a_worker_that_never_returns_holds_readers_up_no_longer_than_its_transaction_may_last(
    make_settings, tmp_path
):
    settings = make_settings(kafka_partitions=2, candle_commit_interval_s=2)
    ensure_topics(settings)
    feeder = Feeder(settings, list(messages(5, 30_000)), parts=8)

    def held_up() -> bool:
        seen = end_offsets(settings, LIVE_TOPIC)
        return seen != end_offsets(settings, LIVE_TOPIC, "read_uncommitted")

    def all_read_on(since: dict[int, int]) -> bool:
        return all(end > since[at] for at, end in end_offsets(settings, LIVE_TOPIC).items())

    stuck = start(settings, "candles", log=tmp_path / "stuck.log")
    with running(settings, "candles", log=tmp_path / "other.log"):
        try:
            nothing = end_offsets(settings, LIVE_TOPIC)
            feeder.release(2)
            await_(lambda: all_read_on(nothing), what="commits in both partitions")
            feeder.release(2)
            await_(held_up, what="an open transaction")
            stuck.send_signal(signal.SIGSTOP)
            began, then = time.monotonic(), end_offsets(settings, LIVE_TOPIC)
            feeder.release(2)
            await_(lambda: all_read_on(then), what="committed records in both partitions")
            print(f"all partitions were read on after {time.monotonic() - began:.1f} s")
            feeder.finish()
            await_consumed(settings, STOCKS_TOPIC, "candles")
        finally:
            stuck.kill()
            stuck.wait()


@pytest.mark.drill
def test_a_broker_that_hangs_or_is_away_makes_a_worker_wait_and_neither_grow_nor_die(
    make_settings, private_kafka, tmp_path
):
    def settings_of(name: str):
        return make_settings(
            kafka_brokers=private_kafka.brokers,
            kafka_partitions=3,
            tickhouse_data_dir=tmp_path / name,
        )

    sent = list(messages(6, 40_000))
    expected = undisturbed(settings_of("undisturbed"), sent, tmp_path / "undisturbed.log")
    settings = settings_of("disturbed")
    ensure_topics(settings)
    feeder = Feeder(settings, sent, parts=6)
    log = tmp_path / "disturbed.log"
    with running(settings, "candles", log=log) as worker:
        process = psutil.Process(worker.pid)
        feeder.release(2)
        await_commit(settings)
        before = process.memory_info().rss
        feeder.release(2)
        os.killpg(private_kafka.pid, signal.SIGSTOP)
        most = largest(process, 35)
        os.killpg(private_kafka.pid, signal.SIGCONT)
        await_commit(settings)
        feeder.release(2)
        private_kafka.kill()
        most = max(most, largest(process, 20))
        private_kafka.start()
        feeder.finish()
        await_consumed(settings, STOCKS_TOPIC, "candles", PATIENCE_S)
        assert worker.poll() is None
    assert difference(expected, outputs(settings)) == ""
    print(f"{before / 2**20:.0f} MB at work, at most {most / 2**20:.0f} MB while it waited")
    assert most < before + GROWTH


def largest(process: psutil.Process, for_s: int) -> int:
    """The peak memory (RSS, bytes) of a process during a number of seconds."""
    found = 0
    for _ in range(for_s):
        found = max(found, process.memory_info().rss)
        time.sleep(1)
    return found
