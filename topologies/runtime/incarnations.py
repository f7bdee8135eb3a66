"""Keep a worker's local state consistent with the incarnations of its topics.

A topic that is deleted and recreated is a new incarnation, with a new id and new offsets. The state
folder records the ids of the topics that its state belongs to. State of another incarnation is
deleted before a worker starts. A running worker that finds its topics recreated aborts its
checkpoint and restarts.
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
from app.topics import request_topic_ids, topic_ids

logger = logging.getLogger(__name__)

IDS_FILE = "incarnations.json"
GROUP_EMPTY_S = 20.0
"""How long to wait for an empty group. A worker that has ended remains a member until its session
times out (10 s)."""
REQUEST_TIMEOUT_S = 30.0


class TopicRecreatedError(RuntimeError):
    """An input or changelog topic no longer has the id it had when this worker started."""


class StateIncarnations:
    """The ids of a worker's input and changelog topics, recorded in its state folder."""

    def __init__(self, settings: Settings, folder: Path, group: str, input_topic: str) -> None:
        self._settings = settings
        self._folder = folder
        self._group = group
        self._input = input_topic
        self._changelog_prefix = f"changelog__{group}--"
        self._admin = AdminClient(settings.kafka_client() | {"log_level": 0})
        self._known: dict[str, str] = {}

    def discard_foreign_state(self) -> None:
        """Delete local state of other incarnations. Call it before a worker starts.

        If only the changelog was recreated, the state it held is lost. The group then restarts at
        the beginning of its input, so that no result is built from a part of its messages. If
        another worker of the group is active, the offsets cannot be changed, and a warning is
        logged.
        """
        recorded = self._recorded_ids()
        if not recorded:
            return
        present = self._current_ids()
        foreign = {
            name for name, incarnation in recorded.items() if present.get(name) != incarnation
        }
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
        """Return the current id of the input topic."""
        return topic_ids(self._settings, [self._input], admin=self._admin)[self._input]

    def record_ids(self) -> None:
        """Record the current topic ids as those of the worker's state; all topics must exist."""
        self._known = self._current_ids()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / IDS_FILE, json.dumps(self._known, indent=2) + "\n")

    def check(self) -> Callable[[], None]:
        """Request the current topic ids; return a function that checks the response.

        The function raises `TopicRecreatedError` if a topic was deleted or has another id.
        """
        answer = request_topic_ids(self._settings, self._known, REQUEST_TIMEOUT_S, self._admin)

        def compare() -> None:
            present = answer()
            for name, incarnation in self._known.items():
                if present.get(name) != incarnation:
                    raise TopicRecreatedError(f"the topic {name} was deleted or recreated")

        return compare

    def changelogs(self) -> list[str]:
        """Return the existing changelog topics of the worker's state."""
        topics = self._admin.list_topics(timeout=30).topics
        return [name for name in topics if name.startswith(self._changelog_prefix)]

    def _current_ids(self) -> dict[str, str]:
        names = [self._input, *self.changelogs()]
        return topic_ids(self._settings, names, admin=self._admin)

    def _recorded_ids(self) -> dict[str, str]:
        try:
            recorded: dict[str, str] = json.loads((self._folder / IDS_FILE).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return recorded

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
                "the group %s keeps its offsets, as another worker is active: %s",
                self._group,
                error.str(),
            )
        else:
            logger.warning("the group %s restarts at the beginning of its input", self._group)

    def _alter_offsets(self, partitions: list[TopicPartition]) -> KafkaError | None:
        """Set the group's offsets; return Kafka's error, if any.

        Kafka rejects the change while the group has members.
        """
        request = [ConsumerGroupTopicPartitions(self._group, partitions)]
        (done,) = self._admin.alter_consumer_group_offsets(request).values()
        try:
            altered = done.result().topic_partitions
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            return reason
        return next((at.error for at in altered if at.error), None)
