"""kill -9 and worse: the output, read committed, is that of a run that nothing disturbed."""

from __future__ import annotations

import shutil
import signal
import time

import pytest

from app.contracts import (
    CANDLES_TOPIC,
    LIVE_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
)
from app.topics import ensure_topics
from tests.integration.topologies.workload import messages
from tests.support import (
    await_,
    await_consumed,
    committed_offsets,
    end_offsets,
    read_topic,
    running,
    send,
    start,
    values,
)

COUNT = 30_000
OUTPUTS = (CANDLES_TOPIC, *ROLLUP_TOPICS.values(), LIVE_TOPIC, REJECTED_TOPIC)


def outputs(settings):
    """Every output record by topic, partition and order, without what names this run's topics."""
    found = {}
    for topic in OUTPUTS:
        read = read_topic(settings, topic)
        records = values(read)
        for record in records:
            record.pop("_topic_id", None)
            record.pop("topic", None)
        found[topic] = [
            (message.partition(), message.key(), record)
            for message, record in zip(read, records, strict=True)
        ]
    return found


def prepared(make_settings, tmp_path, name):
    settings = make_settings(
        kafka_partitions=3, candle_commit_interval_s=0.2, tickhouse_data_dir=tmp_path / name
    )
    ensure_topics(settings)
    return settings


def undisturbed(make_settings, tmp_path, seed: int):
    """The output of a run to its end."""
    settings = prepared(make_settings, tmp_path, "undisturbed")
    send(settings, STOCKS_TOPIC, messages(seed, COUNT))
    with running(settings, "candles", log=tmp_path / "undisturbed.log"):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    return outputs(settings)


def kill_in_mid_run(settings, log, at: float) -> None:
    """Start a worker and kill -9 it once it has committed the share `at` of its input."""
    worker = start(settings, "candles", log=log)
    await_progress(settings, worker, log, at)
    worker.kill()
    worker.wait()


def await_progress(settings, worker, log, at: float) -> None:
    """Wait until the share `at` of the input is committed, and a little longer; not all may be."""
    total = sum(end_offsets(settings, STOCKS_TOPIC).values())

    def done() -> int:
        assert worker.poll() is None, log.read_text()
        return sum(committed_offsets(settings, STOCKS_TOPIC, "candles").values())

    await_(lambda: done() >= at * total, 60, "the worker's commits")
    time.sleep(0.07)  # into the next transaction
    assert done() < total, "too late to show anything"


def test_kill_9_with_and_without_local_state_leaves_the_output_as_undisturbed(
    make_settings, tmp_path
):
    expected = undisturbed(make_settings, tmp_path, seed=1)
    statuses = {record["status"] for _, _, record in expected[CANDLES_TOPIC]}
    reasons = {record["reason"] for _, _, record in expected[REJECTED_TOPIC]}
    assert statuses == {"final", "revised"}
    assert reasons >= {"schema", "late"}

    killed = prepared(make_settings, tmp_path, "killed")
    send(killed, STOCKS_TOPIC, messages(1, COUNT))
    log = tmp_path / "killed.log"
    kill_in_mid_run(killed, log, at=0.15)
    kill_in_mid_run(killed, log, at=0.45)
    shutil.rmtree(killed.state_dir)
    with running(killed, "candles", log=log):
        await_consumed(killed, STOCKS_TOPIC, "candles")

    actual = outputs(killed)
    for topic in OUTPUTS:
        assert len(actual[topic]) == len(expected[topic]), topic
        assert actual[topic] == expected[topic], topic


@pytest.mark.drill
def test_a_worker_that_slept_past_its_session_commits_nothing_of_what_it_lost(
    make_settings, tmp_path
):
    expected = undisturbed(make_settings, tmp_path, seed=2)

    slept = prepared(make_settings, tmp_path, "slept")
    log = tmp_path / "slept.log"
    send(slept, STOCKS_TOPIC, messages(2, COUNT))
    with running(slept, "candles", log=log) as sleeper:
        await_progress(slept, sleeper, log, at=0.2)
        sleeper.send_signal(signal.SIGSTOP)
        with running(slept, "candles", log=tmp_path / "other.log") as other:
            await_progress(slept, other, tmp_path / "other.log", at=0.5)
            sleeper.send_signal(signal.SIGCONT)
            await_consumed(slept, STOCKS_TOPIC, "candles")
        await_(lambda: log.read_text().count(" reads ") == 2, 60, "the sleeper to begin anew")
        assert sleeper.poll() is None
    assert outputs(slept) == expected
