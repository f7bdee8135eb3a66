"""Symbols of revoked partitions leave memory, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer

from app.contracts import STOCKS_TOPIC
from app.settings import Settings
from app.topics import CANDLES_GROUP, ensure_topics
from tests.integration.feeder import Pair
from tests.integration.topologies.counting import beside
from tests.integration.topologies.crash_driver import difference, outputs, undisturbed
from tests.integration.topologies.workload import messages
from tests.support import (
    await_,
    await_consumed,
    committed_offsets,
    consumer,
    end_offsets,
    send,
)
from topologies.candles import build
from topologies.runtime import worker
from topologies.runtime.batched_polling import BatchedApplication
from topologies.runtime.incarnations import StateIncarnations, TopicRecreatedError
from topologies.runtime.instance import claim_instance
from topologies.runtime.worker import application

PARTITIONS = 4
NEVER_S = 3_600.0
ROUNDS = 25
"""A commit interval so long that only rebalances commit."""


@pytest.fixture
def prepared(make_settings, tmp_path, monkeypatch) -> Callable[..., Settings]:
    """Settings of a run of that name, with its topics; its members notice rebalances quickly."""
    monkeypatch.setattr(worker, "HEARTBEAT_MS", 100)

    def make(name: str) -> Settings:
        settings = make_settings(
            tickhouse_data_dir=tmp_path / name,
            kafka_partitions=PARTITIONS,
            candle_commit_interval_s=0.2,
        )
        ensure_topics(settings)
        return settings

    return make


@contextmanager
def candles(settings: Settings) -> Iterator[BatchedApplication]:
    """The candles worker's application, for the test's own process."""
    group, stocks = settings.named(CANDLES_GROUP), settings.named(STOCKS_TOPIC)
    with claim_instance(settings.state_dir / CANDLES_GROUP, None) as instance:
        incarnations = StateIncarnations(settings, instance.folder, group, stocks)
        app = application(settings, instance, group)
        build(app, settings, incarnations)
        incarnations.record_ids()
        yield app


class Rebalances:
    """The partitions and symbols of an application while another member joins and leaves."""

    def __init__(self, settings: Settings, app: BatchedApplication) -> None:
        self.partitions: set[int] = set()
        self._count = 0
        self._read: dict[int, int] = {}
        self._settings = settings
        self._app = app
        self._topic = settings.named(STOCKS_TOPIC)
        self._changelog = f"changelog__{settings.named(CANDLES_GROUP)}--{self._topic}--default"
        self._watch(app)

    def _watch(self, app: BatchedApplication) -> None:
        context = app._processing_context
        assign, store_offset = app._on_assign, context.store_offset

        def assigned(consumer: Any, partitions: list[Any]) -> None:
            assign(consumer, partitions)
            self.partitions = {
                partition.partition for partition in partitions if partition.topic == self._topic
            }
            self._count += 1

        def stored(topic: str, partition: int, offset: int) -> None:
            store_offset(topic, partition, offset)
            self._read[partition] = offset + 1

        app._on_assign, context.store_offset = assigned, stored

    def in_memory(self) -> list[tuple[int, bytes]]:
        """Partition and key of each symbol in memory."""
        (sink,) = self._app._processing_context.sink_manager.sinks
        return sorted(sink._symbols._symbols)

    def await_all(self) -> None:
        """Wait for the first assignment: all partitions."""
        await_(lambda: len(self.partitions) == PARTITIONS, what="the first assignment")

    def await_read(self) -> None:
        """Wait until all that was sent to the assigned partitions is read."""
        ends = end_offsets(self._settings, STOCKS_TOPIC)
        wanted = {number: ends[number] for number in self.partitions if ends[number]}
        await_(lambda: wanted.items() <= self._read.items(), what="all to be read")

    def join(self) -> Consumer:
        """Let another member take its share of the partitions, unless the application ends."""
        before = self._count
        member = consumer(self._settings, **{"group.id": self._settings.named(CANDLES_GROUP)})
        member.subscribe([self._topic, self._changelog])

        def done() -> bool:
            member.poll(0.05)
            return self._count > before or not self._app._run_tracker.running

        await_(done, what="a rebalance")
        return member

    def leave(self, member: Consumer) -> None:
        """Let the other member leave."""
        before = self._count
        member.close()
        await_(lambda: self._count > before, what="a rebalance")
        assert len(self.partitions) == PARTITIONS


def parts_of(sent: list[Pair], count: int) -> list[list[Pair]]:
    size = len(sent) // count + 1
    return [sent[first : first + size] for first in range(0, len(sent), size)]


@pytest.mark.drill
def test_after_many_rebalances_memory_holds_the_symbols_of_the_assigned_partitions_alone(
    prepared, tmp_path
):
    sent = list(messages(8, 200 * (2 * ROUNDS + 1)))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")
    settings = prepared("rebalanced")
    coming = iter(parts_of(sent, 2 * ROUNDS + 1))

    def read_a_part() -> list[tuple[int, bytes]]:
        send(settings, STOCKS_TOPIC, next(coming))
        rebalances.await_read()
        return rebalances.in_memory()

    def watch() -> None:
        rebalances.await_all()
        every = read_a_part()
        assert {partition for partition, _ in every} == set(range(PARTITIONS))
        for _ in range(ROUNDS):
            member = rebalances.join()
            assert 0 < len(rebalances.partitions) < PARTITIONS
            mine = [place for place in every if place[0] in rebalances.partitions]
            assert read_a_part() == mine
            rebalances.leave(member)
            assert read_a_part() == every
        await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP)

    with candles(settings) as app:
        rebalances = Rebalances(settings, app)
        beside(app, watch)
    assert difference(expected, outputs(settings)) == ""


@pytest.mark.drill
def test_a_save_that_fails_as_partitions_are_revoked_ends_the_application_uncommitted(
    prepared, tmp_path, monkeypatch
):
    sent = list(messages(9, 300))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")
    settings = prepared("failing")

    def fail() -> None:
        raise TopicRecreatedError("the topic stocks-topic was deleted or recreated")

    def watch() -> None:
        rebalances.await_all()
        send(settings, STOCKS_TOPIC, sent)
        rebalances.await_read()
        rebalances.join().close()
        assert not app._run_tracker.running, "the application goes on"

    with candles(settings) as app, monkeypatch.context() as patch:
        app._processing_context.commit_interval = NEVER_S
        patch.setattr(StateIncarnations, "check", lambda incarnations: fail)
        rebalances = Rebalances(settings, app)
        with pytest.raises(TopicRecreatedError):
            beside(app, watch)
    assert set(committed_offsets(settings, STOCKS_TOPIC, CANDLES_GROUP).values()) == {0}
    assert not any(map(len, outputs(settings).values()))
    with candles(settings) as again:
        beside(again, lambda: await_consumed(settings, STOCKS_TOPIC, CANDLES_GROUP))
    assert difference(expected, outputs(settings)) == ""


@pytest.mark.drill
def test_a_save_that_takes_long_as_partitions_are_revoked_is_waited_for(
    prepared, tmp_path, monkeypatch
):
    sent = list(messages(10, 300))
    expected = undisturbed(prepared("undisturbed"), sent, tmp_path / "undisturbed.log")
    settings = prepared("slow")
    budget_s = 0.2
    flushed_by: set[threading.Thread] = set()
    check = StateIncarnations.check

    def slow(incarnations: StateIncarnations) -> Callable[[], None]:
        time.sleep(5 * budget_s)
        flushed_by.add(threading.current_thread())
        return check(incarnations)

    def watch() -> None:
        rebalances.await_all()
        send(settings, STOCKS_TOPIC, sent)
        rebalances.await_read()
        member = rebalances.join()
        committed = committed_offsets(settings, STOCKS_TOPIC, CANDLES_GROUP)
        assert committed == end_offsets(settings, STOCKS_TOPIC)
        rebalances.leave(member)

    monkeypatch.setattr(StateIncarnations, "check", slow)
    with candles(settings) as app:
        app._processing_context.commit_interval = NEVER_S
        app._processing_context.revoke_flush_timeout = budget_s
        rebalances = Rebalances(settings, app)
        beside(app, watch)
    assert flushed_by == {threading.main_thread()}
    assert difference(expected, outputs(settings)) == ""
