"""When loads and builds run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from croniter import croniter

from app.settings import Settings, SettingsError, load_settings
from app.warehouse.commands import is_build_due
from app.warehouse.interface import Build
from app.warehouse.schedule import UPLOAD_S, load_cron
from topologies.archive import seconds_to_flush

MIDNIGHT = datetime(2024, 3, 5, tzinfo=UTC)


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


@pytest.mark.parametrize("grace_ms", [0, 5_000, 20_000, 60_000])
@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_a_load_follows_a_flush_of_final_candles(grace_ms: int, minutes: int) -> None:
    chosen = settings(candle_grace_ms=grace_ms, warehouse_load_minutes=minutes)
    times = croniter(load_cron(chosen), MIDNIGHT)
    first, second = (times.get_next(datetime).timestamp() for _ in range(2))

    assert second - first == 60 * minutes
    flush = first - UPLOAD_S
    interval_s = chosen.archive_flush_interval_s
    just_before = seconds_to_flush(flush - 1, interval_s, chosen.finals_delay_s)
    assert just_before == pytest.approx(1)


def test_minutes_divide_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_LOAD_MINUTES", "7")

    with pytest.raises(SettingsError, match="WAREHOUSE_LOAD_MINUTES is '7'"):
        load_settings()


def built(load_id: int, at: datetime) -> Build:
    return Build(load_id, at, at, "built", "", "")


def test_builds_are_due_once_per_interval_if_there_is_something_new() -> None:
    last = built(7, MIDNIGHT + timedelta(seconds=16))
    minute = timedelta(minutes=1)

    assert is_build_due(8, last, MIDNIGHT + minute, 1)
    assert not is_build_due(7, last, MIDNIGHT + minute, 1)
    assert not is_build_due(8, last, MIDNIGHT + 4.9 * minute, 5)
    assert is_build_due(8, last, MIDNIGHT + 5 * minute, 5)
    assert is_build_due(1, None, MIDNIGHT, 60)
    assert not is_build_due(0, None, MIDNIGHT, 1)
