"""Fixtures shared by the tests of workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.settings import Settings
from app.topics import ensure_topics


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """One partition, commits five times a second; its topics are made."""
    made = make_settings(kafka_partitions=1, candle_commit_interval_s=0.2)
    ensure_topics(made)
    return made
