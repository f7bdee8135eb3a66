"""Incarnations of topics: a topic that was deleted and recreated is another one, with other offsets.

A worker's state folder notes the ids of the topics its state belongs to. State of another incarnation is
wiped before a worker starts, and a worker that finds its topics recreated while it runs stops its
checkpoint and starts over.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from app.outputs import write_atomically
from app.settings import Settings
from app.topics import ask_topic_ids, topic_ids

logger = logging.getLogger(__name__)

NOTE = "incarnations.json"
GROUP_EMPTY_S = 20.0
"""A worker that has ended is a member of its group until its session of 10 s ends."""
ASK_TIMEOUT_S = 30.0


class TopicRecreatedError(RuntimeError):
    """An input or changelog topic has another id than when this worker began."""


class StateIncarnations:
    """The ids of a worker's input and changelog topics, noted in its state folder."""

    def __init__(self, settings: Settings, folder: Path, group: str, input_topic: str) -> None:
        self._settings = settings
        self._folder = folder
        self._group = group
        self._input = input_topic
        self._changelog_prefix = f"changelog__{group}--"
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._known: dict[str, str] = {}

    def discard_foreign_state(self) -> None:
        """Wipe local state that belongs to topics of another incarnation; called before a worker starts.

        When only the changelog was recreated, the minutes it held are lost with it: the group
        starts over at the input's beginning, so that no candle is built on half of its trades.
        """
        noted = self._noted()
        if not noted:
            return
        present = self._present()
        foreign = {name for name, incarnation in noted.items() if present.get(name) != incarnation}
        if not foreign:
            return
        logger.warning(
            "%s was deleted or recreated: the state of its previous incarnation in %s is discarded",
            " and ".join(sorted(foreign)),
            self._folder,
        )
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._input not in foreign:
            self._start_over()

    def input_id(self) -> str:
        """The present id of the input topic."""
        return topic_ids(self._settings, [self._input], admin=self._admin)[self._input]

    def note(self) -> None:
        """Note the ids that the worker's state belongs to from now on; all topics exist."""
        self._known = self._present()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / NOTE, json.dumps(self._known, indent=2) + "\n")

    def check(self) -> Callable[[], None]:
        """Ask the broker, before each flush; what is returned compares its answer.

        That raises `TopicRecreatedError` when a topic has another id, or none any more.
        """
        answer = ask_topic_ids(self._settings, self._known, ASK_TIMEOUT_S, self._admin)

        def compare() -> None:
            present = answer()
            for name, incarnation in self._known.items():
                if present.get(name) != incarnation:
                    raise TopicRecreatedError(f"the topic {name} was deleted or recreated")

        return compare

    def changelogs(self) -> list[str]:
        """The topics that local state comes back from, as far as they are made."""
        topics = self._admin.list_topics(timeout=30).topics
        return [name for name in topics if name.startswith(self._changelog_prefix)]

    def _present(self) -> dict[str, str]:
        names = [self._input, *self.changelogs()]
        return topic_ids(self._settings, names, admin=self._admin)

    def _noted(self) -> dict[str, str]:
        try:
            noted: dict[str, str] = json.loads((self._folder / NOTE).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return noted

    def _start_over(self) -> None:
        partitions = [
            TopicPartition(self._input, number, 0)
            for number in range(self._settings.kafka_partitions)
        ]
        deadline = time.monotonic() + GROUP_EMPTY_S
        while (error := self._alter_offsets(partitions)) and time.monotonic() < deadline:
            time.sleep(0.5)
        if error:
            logger.warning(
                "the group %s keeps its offsets, another worker is active: %s",
                self._group,
                error.str(),
            )
        else:
            logger.warning("the group %s starts over at the beginning of its input", self._group)

    def _alter_offsets(self, partitions: list[TopicPartition]) -> KafkaError | None:
        """Set the group's offsets; Kafka's error when the group has members."""
        request = [ConsumerGroupTopicPartitions(self._group, partitions)]
        (done,) = self._admin.alter_consumer_group_offsets(request).values()
        try:
            altered = done.result().topic_partitions
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            return reason
        return next((at.error for at in altered if at.error), None)
