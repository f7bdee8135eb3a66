"""The rate of messages per second through a stage between two observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Counts(NamedTuple):
    """How many messages each stage had published or processed by `now` (UNIX ms)."""

    now: int
    messages: Mapping[str, int]


def rates(before: Counts | None, after: Counts) -> dict[str, float]:
    """Return the messages per second of each stage.

    Stages whose topics were recreated in the meantime are left out.
    """
    if before is None or after.now <= before.now:
        return {}
    seconds = (after.now - before.now) / 1000
    return {
        stage: (count - before.messages[stage]) / seconds
        for stage, count in after.messages.items()
        if count >= before.messages.get(stage, count + 1)
    }
