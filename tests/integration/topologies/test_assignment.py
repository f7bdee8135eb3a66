"""Partitions are assigned with start offsets, and changelogs stay paused."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from quixstreams.exceptions import PartitionAssignmentError

from app.contracts import LIVE_TOPIC, STOCKS_TOPIC
from app.settings import Settings
from app.topics import BrokerUnreachableError
from tests.integration.topologies.counting import GROUP, beside, counting
from tests.support import await_, await_consumed, read_topic, send
from topologies.runtime.batched_polling import BatchedApplication
from topologies.runtime.consumer import IncarnationConsumer


def changelog(settings: Settings) -> str:
    group, topic = settings.named(GROUP), settings.named(STOCKS_TOPIC)
    return f"changelog__{group}--{topic}--default"


def assigned(app: BatchedApplication) -> list[dict[str, int]]:
    """Collect the start offset of each topic's partition at each assignment."""
    found: list[dict[str, int]] = []
    assign = app._on_assign

    def note(consumer, partitions) -> None:
        found.append({partition.topic: partition.offset for partition in partitions})
        assign(consumer, partitions)

    app._on_assign = note
    return found


def test_every_partition_is_assigned_with_a_start_offset(settings):
    """Without an offset a partition starts later, perhaps during a pause, and one is lost."""
    send(settings, STOCKS_TOPIC, [(b"SPY", b""), (b"SPY", b"")])
    for begins in (0, 2):
        with counting(settings, stateful=True) as app:
            reported = assigned(app)
            beside(app, lambda: await_consumed(settings, STOCKS_TOPIC, GROUP, 30))
        assert reported == [{settings.named(STOCKS_TOPIC): begins, changelog(settings): 0}]


def test_nothing_is_read_while_it_is_not_known_what_is_committed(settings, monkeypatch):
    send(settings, STOCKS_TOPIC, [(b"SPY", b"")])
    with counting(settings, stateful=True) as app:
        beside(app, lambda: await_consumed(settings, STOCKS_TOPIC, GROUP, 30))
    asked = IncarnationConsumer.committed
    failed = threading.Event()

    def committed(consumer, partitions, *args, **kwargs):
        if len(partitions) == 2:  # of input and changelog, before they are assigned
            failed.set()
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return asked(consumer, partitions, *args, **kwargs)

    monkeypatch.setattr(IncarnationConsumer, "committed", committed)
    with counting(settings, stateful=True) as app, pytest.raises(PartitionAssignmentError):
        beside(app, failed.wait)
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"1"]


def test_a_changelog_whose_pause_was_lost_is_paused_again(settings, caplog):
    send(settings, STOCKS_TOPIC, [(b"SPY", b"")])
    partition = TopicPartition(changelog(settings), 0)

    def watch(app: BatchedApplication) -> None:
        await_consumed(settings, STOCKS_TOPIC, GROUP, 30)
        app._consumer.resume([partition])
        await_(lambda: "paused again" in caplog.text, what="a look at the changelog")
        send(settings, STOCKS_TOPIC, [(b"SPY", b"")])
        await_consumed(settings, STOCKS_TOPIC, GROUP, 30)

    with counting(settings, stateful=True) as app:
        beside(app, lambda: watch(app))
    assert [item.value() for item in read_topic(settings, LIVE_TOPIC)] == [b"1", b"2"]
    assert caplog.text.count("paused again") == 1


def test_a_failed_assignment_is_raised_as_what_it_is_whatever_callbacks_follow(settings, caplog):
    """While an error leaves a callback, confluent-kafka calls others, as for log lines."""
    caplog.set_level("DEBUG", "quixstreams.kafka.consumer")
    send(settings, STOCKS_TOPIC, [(b"SPY", b"")])
    with counting(settings, stateful=True) as app:
        app._consumer._consumer_config["debug"] = "all"
        failed = threading.Event()

        def fail() -> None:
            failed.set()
            raise BrokerUnreachableError("the broker is away")

        app._consumer.before_assign = fail
        with pytest.raises(PartitionAssignmentError) as raised:
            beside(app, failed.wait)
    assert isinstance(raised.value.__cause__, BrokerUnreachableError)
    assert "a rebalance failed: the broker is away" in caplog.text
