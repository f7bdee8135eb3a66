"""Name the incarnations of topics. Names are stored in the lake, so that all workers use the same.

A topic that is deleted and recreated is a new incarnation, with a new id from Kafka. The archive
names an incarnation when it first reads it, by the timestamp of its first record. Names of later
incarnations sort after those of earlier ones.
"""

from __future__ import annotations

import json
import logging

from app.lake import incarnation_name, incarnation_note_key
from sinks.bucket import Bucket

logger = logging.getLogger(__name__)

NAMES_PREFIX = "bronze/_incarnations/"
MAX_TIMESTAMP_MS = 9_999_999_999_999
"""The time in a name has 13 digits."""


def claim_key(topic: str, topic_id: str) -> str:
    """Return the key of the object that decides an incarnation's name.

    Only one worker can create it.
    """
    return f"bronze/_incarnation_ids/{topic}.{topic_id}.json"


class IncarnationNames:
    """Finds the name of an incarnation in the lake, or assigns one. Methods raise `S3_ERRORS`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._names: dict[tuple[str, str], str] = {}

    def name(self, topic: str, topic_id: str, first_timestamp_ms: int) -> str:
        """Return the name of the incarnation `topic_id` of `topic`.

        :param first_timestamp_ms: Kafka's timestamp of its first record, used if the incarnation
            has no name yet.
        """
        known = self._names.get((topic, topic_id))
        if known is None:
            known = self._claimed_name(topic, topic_id, first_timestamp_ms)
            self._names[topic, topic_id] = known
        return known

    def known(self, topic: str, topic_id: str) -> str:
        """Return the name of an incarnation that was already passed to `name`.

        :raises KeyError: it was not.
        """
        return self._names[topic, topic_id]

    def _claimed_name(self, topic: str, topic_id: str, first_timestamp_ms: int) -> str:
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
        """Return the note that the lake already holds about this incarnation, or a new one."""
        newest_ms = 0
        for key in self._bucket.keys(f"{NAMES_PREFIX}{topic}."):
            incarnation = key.removeprefix(NAMES_PREFIX).removesuffix(".json")
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
    """Return the time in the name of an incarnation; None if it belongs to another topic."""
    time, dash, _ = incarnation.removeprefix(f"{topic}.").partition("-")
    return int(time) if dash and len(time) == 13 and time.isdigit() else None
