"""The embedded Kafka: topics survive restarts and kills, and it listens on loopback only."""

from __future__ import annotations

import socket

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from app.embedded.kafka import KafkaServer
from app.embedded.process import EmbeddedError
from tests.support import listening


def produce(brokers: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": brokers, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(brokers: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = consumer.consume(count, timeout=30)
    consumer.close()
    return [bytes(message.value() or b"") for message in found]


@pytest.mark.drill
def test_keeps_port_and_messages_through_a_restart_and_a_kill(private_kafka: KafkaServer) -> None:
    brokers = private_kafka.brokers
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic("kept", 1)])["kept"].result(30)
    produce(brokers, "kept", b"first")
    private_kafka.stop()
    assert not private_kafka.is_running()
    private_kafka.start()
    produce(brokers, "kept", b"second")
    private_kafka.kill()
    private_kafka.start()

    assert private_kafka.brokers == brokers
    assert read(brokers, "kept", 2) == [b"first", b"second"]


def test_another_start_on_the_same_folder_takes_the_same_port(private_kafka: KafkaServer) -> None:
    private_kafka.stop()
    with KafkaServer(private_kafka.folder) as again:
        assert again.brokers == private_kafka.brokers


def test_listens_on_loopback_only(kafka: KafkaServer) -> None:
    assert listening([psutil.Process(kafka.pid)]) == {"127.0.0.1"}


def test_a_taken_port_is_a_sentence(private_kafka: KafkaServer) -> None:
    private_kafka.stop()
    taken = pytest.raises(EmbeddedError, match=f"Port {private_kafka.port} .* is in use")
    with socket.create_server(("127.0.0.1", private_kafka.port)), taken:
        private_kafka.start()


def test_a_broker_that_ends_is_an_error_with_the_end_of_its_log(private_kafka: KafkaServer) -> None:
    private_kafka.stop()
    (private_kafka.folder / "data" / "meta.properties").write_text("version=1\ncluster.id=other\n")
    with pytest.raises(
        EmbeddedError, match=r"(?s)ended at once; its log .*No readable meta\.properties"
    ):
        private_kafka.start()
