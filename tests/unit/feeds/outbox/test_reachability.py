"""Whether Kafka answers: what proves it, what does not, and that nobody waits for the proof."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import app.feeds.outbox.reachability
from app.feeds.outbox.reachability import BrokerReachability, BrokerReply


class _Kafka:
    """Answers when the test allows it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.answers = True
        self.exists = True

    def metadata(self, topic: str, timeout: float) -> Any:
        self.asked.set()
        assert self.may_answer.wait(30)
        self.may_answer.clear()
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        error = None if self.exists else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions={0: None})})

    def come(self, contact: BrokerReachability, topic: str = "t") -> BrokerReply:
        """Let it answer, and wait for the answer."""
        self.may_answer.set()
        while True:
            if answer := contact.probe(topic):
                return answer


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Kafka]:
    monkeypatch.setattr(app.feeds.outbox.reachability, "PROBE_INTERVAL_S", 0.0)
    kafka = _Kafka()
    yield kafka
    kafka.may_answer.set()


@pytest.fixture
def contact(kafka: _Kafka) -> BrokerReachability:
    return BrokerReachability("there:9092", kafka.metadata)


Log = pytest.LogCaptureFixture


def test_no_one_waits_for_an_answer(kafka: _Kafka, contact: BrokerReachability) -> None:
    assert contact.probe("t") is None
    assert kafka.asked.wait(30)
    assert contact.probe("t") is None
    assert kafka.come(contact) == BrokerReply("t", None, exists=True)


def test_lost_connections_alone_are_no_absence(
    kafka: _Kafka, contact: BrokerReachability, caplog: Log
) -> None:
    contact.disconnected("1/1 brokers are down")
    assert contact.in_doubt
    assert kafka.come(contact).error is None
    assert not contact.answered(), "it was never away"
    assert not contact.in_doubt
    assert caplog.text == ""


def test_an_absence_is_logged_once_and_ends_with_a_proof(
    kafka: _Kafka, contact: BrokerReachability, caplog: Log
) -> None:
    kafka.answers = False
    for _ in range(3):
        contact.disconnected("1/1 brokers are down")
        assert kafka.come(contact).error
    assert caplog.text.count("Kafka at there:9092 does not answer") == 1
    assert contact.answered()
    assert not contact.answered(), "once"


def test_a_question_without_answer_is_no_absence_while_connections_stand(
    kafka: _Kafka, contact: BrokerReachability, caplog: Log
) -> None:
    kafka.answers = False
    assert kafka.come(contact).error
    assert caplog.text == ""
    assert not contact.answered()


def test_a_topic_that_is_not_there_is_an_answer(kafka: _Kafka, contact: BrokerReachability) -> None:
    kafka.exists = False
    assert kafka.come(contact, "gone") == BrokerReply("gone", None, exists=False)
