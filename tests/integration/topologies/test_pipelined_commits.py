"""Messages are processed while a commit is in progress, and aborted with it when it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from app.contracts import LIVE_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from tests.integration.topologies.counting import GROUP, beside, counting
from tests.support import (
    HANG_S,
    await_,
    await_consumed,
    committed_offsets,
    end_offsets,
    read_topic,
    send,
)
from topologies.runtime.pipelined_commits import AlternatingProducer
from topologies.runtime.producer import IncarnationProducer
from topologies.runtime.topic_incarnations import TopicIncarnations

_commit = IncarnationProducer.commit_transaction


class HeldCommit:
    """Blocks the first commit when all its records are sent, until it may continue or fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.stands, self.go_on, self.fails = threading.Event(), threading.Event(), False
        patch.setattr(IncarnationProducer, "commit_transaction", self._commit_transaction())

    def _commit_transaction(self) -> Callable[..., None]:
        def commit_transaction(producer: IncarnationProducer, *args, **kwargs) -> None:
            self.stands.set()
            assert self.go_on.wait(HANG_S)
            if self.fails:
                self.fails = False
                raise KafkaException(KafkaError(KafkaError._FAIL))
            _commit(producer, *args, **kwargs)

        return commit_transaction


def alternating(settings: Settings) -> AlternatingProducer:
    producer = AlternatingProducer(
        broker_address=settings.kafka_brokers,
        extra_config={"transactional.id": settings.named("pair"), "log_level": 0},
        transactional=True,
    )
    producer.incarnations = TopicIncarnations(settings)
    return producer


def test_a_transactional_id_that_is_claimed_again_fences_both_producers(settings):
    former, later = alternating(settings), alternating(settings)
    former.begin_transaction()
    former.send(settings.named(LIVE_TOPIC), b"first", b"SPY")
    former.commit_transaction([], None)
    former.begin_transaction()
    former.send(settings.named(LIVE_TOPIC), b"second", b"SPY")
    later.begin_transaction()
    with pytest.raises(KafkaException):
        former.commit_transaction([], None)
    former.begin_transaction()  # with the other one
    former.send(settings.named(LIVE_TOPIC), b"third", b"SPY")
    with pytest.raises(KafkaException):
        former.commit_transaction([], None)
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"first"]


def uncommitted(settings: Settings) -> int:
    return end_offsets(settings, LIVE_TOPIC, "read_uncommitted")[0]


def second_is_answered(settings: Settings, held: HeldCommit) -> None:
    """Send a second message while the commit of the first is blocked; wait for its reply."""
    assert held.stands.wait(HANG_S)
    before = uncommitted(settings)
    send(settings, STOCKS_TOPIC, [(b"SPY", b"second")])
    await_(lambda: uncommitted(settings) > before, what="the answer to the second message")


def test_messages_are_processed_while_a_commit_is_in_progress(settings, monkeypatch):
    held = HeldCommit(monkeypatch)
    send(settings, STOCKS_TOPIC, [(b"SPY", b"first")])

    def watch() -> None:
        second_is_answered(settings, held)
        assert committed_offsets(settings, STOCKS_TOPIC, GROUP) == {0: 0}
        held.go_on.set()
        await_consumed(settings, STOCKS_TOPIC, GROUP, 30)

    with counting(settings, stateful=False) as app:
        beside(app, watch)
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"first", b"second"]


def test_reading_state_waits_for_the_commit_that_writes_it(settings, monkeypatch):
    held = HeldCommit(monkeypatch)
    send(settings, STOCKS_TOPIC, [(b"SPY", b"")])

    def watch() -> None:
        assert held.stands.wait(HANG_S)
        before = uncommitted(settings)
        send(settings, STOCKS_TOPIC, [(b"SPY", b"")])
        time.sleep(1)
        assert uncommitted(settings) == before
        held.go_on.set()
        await_consumed(settings, STOCKS_TOPIC, GROUP, 30)

    with counting(settings, stateful=True) as app:
        beside(app, watch)
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"1", b"2"]


def test_a_commit_that_fails_aborts_the_next_checkpoint_too(settings, monkeypatch):
    held = HeldCommit(monkeypatch)
    send(settings, STOCKS_TOPIC, [(b"SPY", b"first")])

    def watch() -> None:
        second_is_answered(settings, held)
        held.fails = True
        held.go_on.set()
        await_(lambda: not app._run_tracker.running, what="the application's end")

    with counting(settings, stateful=False) as app, pytest.raises(KafkaException):
        beside(app, watch)
    assert committed_offsets(settings, STOCKS_TOPIC, GROUP) == {0: 0}
    with counting(settings, stateful=False) as again:
        beside(again, lambda: await_consumed(settings, STOCKS_TOPIC, GROUP, 30))
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"first", b"second"]
