"""Read parts of topics that end, rather than follow them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition


def read_to_end(
    consumer: Consumer, starts: Iterable[TopicPartition], timeout_s: float
) -> Iterator[Message]:
    """Yield the messages from `starts` to the end of each of these partitions.

    :param consumer: configured with `enable.partition.eof`; the caller closes it.
    :param timeout_s: how long Kafka may send nothing.
    :raises KafkaException: Kafka reports an error, or has sent nothing for `timeout_s`.
    """
    assigned = list(starts)
    consumer.assign(assigned)
    unread = {(start.topic, start.partition) for start in assigned}
    while unread:
        message = consumer.poll(timeout_s)
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard((message.topic(), message.partition()))
        else:
            raise KafkaException(error)
