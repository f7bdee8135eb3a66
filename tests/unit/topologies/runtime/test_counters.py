"""What is counted is said: when it changed, and not all the time."""

from __future__ import annotations

import logging
from collections import Counter

from topologies.runtime.counters import EVERY_S, TallyLog, counted


def test_counts_are_said_by_name():
    assert counted(Counter(not_a_trade=3, repeated_quote=12, nothing=0)) == (
        "3 not_a_trade, 12 repeated_quote"
    )


def test_what_was_counted_is_said_when_it_changed_at_most_once_a_minute(caplog):
    caplog.set_level(logging.INFO)
    tally: Counter[str] = Counter()
    log = TallyLog(tally)
    log.look(1_000.0)
    assert not caplog.messages
    tally["late"] += 1
    log.look(1_001.0)
    tally["late"] += 1
    log.look(1_000.9 + EVERY_S)
    assert caplog.messages == ["counted since the start: 1 late"]
    log.look(1_001.0 + EVERY_S)
    log.look(1_001.0 + 3 * EVERY_S)
    assert caplog.messages[1:] == ["counted since the start: 2 late"]
