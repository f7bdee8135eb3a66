"""After kill -9 and other failures the output, read committed, is that of an undisturbed run."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, REJECTED_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeder import Feeder
from tests.integration.topologies.crash_driver import (
    await_commit,
    crash,
    difference,
    outputs,
    undisturbed,
)
from tests.integration.topologies.faulty_worker import FAULTS
from tests.integration.topologies.workload import messages, shares
from tests.support import (
    await_,
    await_consumed,
    committed_offsets,
    end_offsets,
    running,
    send,
    start,
    stop,
)

COUNT = 30_000
FAULTY_WORKER = (sys.executable, "-m", "tests.integration.topologies.faulty_worker")


@pytest.fixture
def prepared(make_settings, tmp_path):
    """Settings of a run of that name, with its topics created."""

    def make(name: str, **overrides: Any) -> Settings:
        given = {"kafka_partitions": 3, "candle_commit_interval_s": 0.2} | overrides
        settings = make_settings(tickhouse_data_dir=tmp_path / name, **given)
        ensure_topics(settings)
        return settings

    return make


def has_open_transaction(settings) -> bool:
    """Whether `candles-live` has records behind its last stable offset."""
    written = end_offsets(settings, LIVE_TOPIC, "read_uncommitted")
    return end_offsets(settings, LIVE_TOPIC) != written


def pause_in_transaction(worker, settings, feeder, log) -> None:
    """Pause (SIGSTOP) a worker that has committed input and written into its next transaction."""
    feeder.release()
    await_commit(settings)
    feeder.release()

    def is_paused() -> bool:
        assert worker.poll() is None, log.read_text()
        worker.send_signal(signal.SIGSTOP)
        if has_open_transaction(settings):
            return True
        worker.send_signal(signal.SIGCONT)
        ends = end_offsets(settings, STOCKS_TOPIC)
        if committed_offsets(settings, STOCKS_TOPIC, "candles") == ends:
            feeder.release()
        return False

    await_(is_paused, what=f"a transaction with records, which is not committed; see {log}")


def kill_in_transaction(settings, feeder, log) -> None:
    """Start a worker and kill -9 it while its transaction is open."""
    worker = start(settings, "candles", log=log)
    pause_in_transaction(worker, settings, feeder, log)
    worker.kill()
    worker.wait()


@pytest.mark.drill
def test_kill_9_with_and_without_local_state_leaves_the_output_as_undisturbed(prepared, tmp_path):
    sent = list(messages(1, COUNT))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")
    statuses = {record["status"] for _, _, record in expected[CANDLES_TOPIC]}
    reasons = {record["reason"] for _, _, record in expected[REJECTED_TOPIC]}
    assert statuses == {"final", "revised"}
    assert reasons >= {"schema", "late"}

    killed = prepared("killed")
    feeder = Feeder(killed, sent, parts=5)
    log = tmp_path / "killed.log"
    kill_in_transaction(killed, feeder, log)
    kill_in_transaction(killed, feeder, log)
    shutil.rmtree(killed.state_dir)
    with running(killed, "candles", log=log):
        feeder.finish()
        await_consumed(killed, STOCKS_TOPIC, "candles")

    assert difference(expected, outputs(killed)) == ""


@pytest.mark.drill
def test_a_worker_that_slept_past_its_session_commits_nothing_of_what_it_lost(prepared, tmp_path):
    sent = list(messages(2, COUNT))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")

    slept = prepared("slept")
    log = tmp_path / "slept.log"
    feeder = Feeder(slept, sent[:-1_000], parts=5)
    with running(slept, "candles", log=log) as sleeper:
        pause_in_transaction(sleeper, slept, feeder, log)
        with running(slept, "candles", log=tmp_path / "other.log"):
            await_commit(slept)  # the other's
            sleeper.send_signal(signal.SIGCONT)
            feeder.finish()
            await_consumed(slept, STOCKS_TOPIC, "candles")
        send(slept, STOCKS_TOPIC, sent[-1_000:])  # for the sleeper, now the only worker
        await_consumed(slept, STOCKS_TOPIC, "candles")
        assert sleeper.poll() is None, log.read_text()
    assert difference(expected, outputs(slept)) == ""


@pytest.mark.drill
def test_whatever_happens_to_workers_and_broker_the_output_is_as_undisturbed(
    prepared, private_kafka, tmp_path
):
    shares_of_trouble = shares(messages(3, COUNT))
    assert shares_of_trouble["late"] >= 0.01
    assert min(shares_of_trouble.values()) > 0.001
    expected, found = crash(
        lambda name: prepared(name, kafka_brokers=private_kafka.brokers),
        private_kafka,
        tmp_path,
        seed=3,
        kills=5,
        away_s=20,
        count=COUNT,
    )
    assert found == ""
    assert min(map(len, expected.values())) > 10, "every output has records"


def members_with_partitions(settings: Settings) -> int:
    """How many workers of the candles topology have partitions of it, once a rebalance is over."""
    group = settings.named("candles")
    admin = AdminClient(settings.kafka_client())
    described = admin.describe_consumer_groups([group])[group].result(30)
    stable = described.state == ConsumerGroupState.STABLE
    return stable and sum(bool(m.assignment.topic_partitions) for m in described.members)


@pytest.mark.drill
def test_what_follows_an_aborted_checkpoint_builds_on_nothing_of_it(prepared, tmp_path):
    sent = list(messages(4, COUNT))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")

    settings = prepared("faulty")
    log = tmp_path / "faulty.log"
    rounds = 4
    feeder = Feeder(settings, sent, parts=5 * rounds)
    faulty = start(settings, "4", log=log, program=FAULTY_WORKER)
    try:
        for number in range(rounds):
            feeder.release()
            await_commit(settings)
            sound = tmp_path / f"sound-{number}.log"
            with running(settings, "candles", log=sound):
                await_(lambda log=sound: " reads " in log.read_text(), what="its start")
                feeder.release(3)  # partitions are revoked in the middle of it
                await_(
                    lambda: members_with_partitions(settings) == 2, what="both to have partitions"
                )
                feeder.release()
                await_commit(settings)
        feeder.finish()
        await_consumed(settings, STOCKS_TOPIC, "candles")
        assert faulty.poll() is None
    finally:
        stop(faulty)
    assert difference(expected, outputs(settings)) == ""
    reported = log.read_text()
    assert [place for place in FAULTS if f"fault {place}" not in reported] == []
