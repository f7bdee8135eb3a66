"""Counters are logged when they changed, at most once per interval."""

from __future__ import annotations

import logging
from collections import Counter

from topologies.runtime.counters import EVERY_S, CounterLog, format_counters


def test_counts_are_logged_by_name():
    assert format_counters(Counter(not_a_trade=3, repeated_quote=12, nothing=0)) == (
        "3 not_a_trade, 12 repeated_quote"
    )


def test_what_was_counted_is_logged_when_it_changed_at_most_once_a_minute(caplog):
    caplog.set_level(logging.INFO)
    counters: Counter[str] = Counter()
    log = CounterLog(counters)
    log.log_if_due(1_000.0)
    assert not caplog.messages
    counters["late"] += 1
    log.log_if_due(1_001.0)
    counters["late"] += 1
    log.log_if_due(1_000.9 + EVERY_S)
    assert caplog.messages == ["counted since the start: 1 late"]
    log.log_if_due(1_001.0 + EVERY_S)
    log.log_if_due(1_001.0 + 3 * EVERY_S)
    assert caplog.messages[1:] == ["counted since the start: 2 late"]
