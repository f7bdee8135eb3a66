"""The ids of a worker's topics, which are committed with its offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from app.settings import Settings
from app.topics import topic_ids

REQUEST_TIMEOUT_S = 15.0


class TopicIncarnations:
    """The ids of the topics whose partitions are assigned to this worker."""

    def __init__(self, settings: Settings) -> None:
        self.assignments = 0
        self._settings = settings
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._ids: dict[str, str] = {}

    def refresh(self, topics: Iterable[str]) -> None:
        """Read the ids of `topics`, whose partitions are being assigned."""
        self._ids = dict(self.current_ids(topics))
        self.assignments += 1

    def id_of(self, topic: str) -> str:
        """Return the id that `topic` had when its partitions were assigned."""
        return self._ids.get(topic, "")

    def current_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        """Return the current ids of those `topics` that exist."""
        return topic_ids(self._settings, sorted(set(topics)), REQUEST_TIMEOUT_S, self._admin)

    def with_ids(self, offsets: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Return the `offsets` to commit, each with the id of its topic as metadata."""
        return [
            TopicPartition(tp.topic, tp.partition, tp.offset, self.id_of(tp.topic))
            for tp in offsets
        ]
