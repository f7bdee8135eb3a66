"""Entry points for an orchestrator that need no warehouse."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest

from app.settings import Settings
from app.warehouse import tasks
from app.warehouse.compaction import CompactionReport
from app.warehouse.progress import BuildProgress, LoadProgress, record_build, record_load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path)
    settings.warehouse_path.parent.mkdir(parents=True)
    monkeypatch.setattr(tasks, "load_settings", lambda: settings)
    return settings


def test_nothing_is_tested_before_the_first_build(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert not tasks.is_build_recorded()
    record_load(settings, LoadProgress(1, 1_000))
    assert not tasks.is_build_recorded()
    assert "Nothing has been built yet" in caplog.text


@pytest.mark.parametrize("failure", [None, "a model failed"])
def test_a_build_is_tested_also_if_it_failed(settings: Settings, failure: str | None) -> None:
    record_build(settings, BuildProgress(1, 1_000, failure))
    assert tasks.is_build_recorded()


@pytest.mark.parametrize(
    ("since", "until", "audited"),
    [
        (None, None, (date(2024, 3, 1), None)),
        ("2024-02-05", None, (date(2024, 2, 5), None)),
        ("2024-02-05", "2024-02-05", (date(2024, 2, 5), date(2024, 2, 5))),
        (None, "2024-02-05", (None, date(2024, 2, 5))),
    ],
)
def test_a_run_audits_the_dates_of_its_parameters_or_else_the_last_days(
    since: str | None, until: str | None, audited: tuple[date | None, date | None]
) -> None:
    assert tasks.audited_dates(since, until, today=date(2024, 3, 5)) == audited


def test_a_day_that_has_no_hours_to_compact_is_named() -> None:
    assert "RAW has no complete hour of 2024-03-05." in CompactionReport(0, 0, 0).sentence(
        date(2024, 3, 5)
    )
    assert "0 hours" in CompactionReport(0, 0, 0).sentence()
    assert "1 hours were up to date" in CompactionReport(0, 1, 0).sentence(date(2024, 3, 5))
