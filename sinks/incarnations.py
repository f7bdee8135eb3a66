"""The names of topics' incarnations. The lake notes them, so that all workers at all times use the same.

A topic that was deleted and recreated is another incarnation, whose id Kafka gives. The archive names a
incarnation once, at first sight, after its first Kafka timestamp; later incarnations sort behind earlier ones.
"""

from __future__ import annotations

import json
import logging

from app.lake import incarnation_name, incarnation_note_key
from sinks.bucket import Bucket

logger = logging.getLogger(__name__)

NOTES = "bronze/_incarnations/"
MAX_TIMESTAMP_MS = 9_999_999_999_999
"""Names have 13 digits for the time."""


def claim_key(topic: str, topic_id: str) -> str:
    """Where an incarnation's name is decided: of the workers that would name it, one can write here."""
    return f"bronze/_incarnation_ids/{topic}.{topic_id}.json"


class IncarnationNames:
    """Finds the name of an incarnation in the lake, or gives it one. Methods raise `S3_ERRORS`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._names: dict[tuple[str, str], str] = {}

    def name(self, topic: str, topic_id: str, first_timestamp_ms: int) -> str:
        """The name of the incarnation `topic_id` of `topic`.

        :param first_timestamp_ms: Kafka's timestamp of its first record; it counts when the incarnation
            has no name yet.
        """
        known = self._names.get((topic, topic_id))
        if known is None:
            known = self._decided(topic, topic_id, first_timestamp_ms)
            self._names[topic, topic_id] = known
        return known

    def known(self, topic: str, topic_id: str) -> str:
        """The name of an incarnation that `name` was asked for before."""
        return self._names[topic, topic_id]

    def _decided(self, topic: str, topic_id: str, first_timestamp_ms: int) -> str:
        claim = claim_key(topic, topic_id)
        note = self._bucket.get(claim)
        if note is None:
            proposed = self._proposal(topic, topic_id, first_timestamp_ms)
            if self._bucket.create(claim, proposed):
                logger.info("%s, id %s, is named %s", topic, topic_id, _incarnation_of(proposed))
            note = self._bucket.get(claim) or proposed
        incarnation = _incarnation_of(note)
        self._bucket.put(incarnation_note_key(incarnation), note)
        return incarnation

    def _proposal(self, topic: str, topic_id: str, first_timestamp_ms: int) -> bytes:
        """The note that the lake holds of this incarnation without a claim, or a new one."""
        newest_ms = 0
        for key in self._bucket.keys(f"{NOTES}{topic}."):
            incarnation = key.removeprefix(NOTES).removesuffix(".json")
            named_ms = _time_of(incarnation, topic)
            if named_ms is None:
                continue
            newest_ms = max(newest_ms, named_ms)
            if incarnation == incarnation_name(topic, named_ms, topic_id):
                note = self._bucket.get(key)
                if note is not None and json.loads(note)["topic_id"] == topic_id:
                    return note
        named_ms = min(max(first_timestamp_ms, newest_ms + 1), MAX_TIMESTAMP_MS)
        return _note(
            topic, topic_id, first_timestamp_ms, incarnation_name(topic, named_ms, topic_id)
        )


def _note(topic: str, topic_id: str, first_timestamp_ms: int, incarnation: str) -> bytes:
    content = {
        "incarnation": incarnation,
        "topic": topic,
        "topic_id": topic_id,
        "first_timestamp_ms": first_timestamp_ms,
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def _incarnation_of(note: bytes) -> str:
    return str(json.loads(note)["incarnation"])


def _time_of(incarnation: str, topic: str) -> int | None:
    """The time in the name of an incarnation of `topic`; None when `incarnation` is of another topic."""
    time, dash, _ = incarnation.removeprefix(f"{topic}.").partition("-")
    return int(time) if dash and len(time) == 13 and time.isdigit() else None
