"""Entry points for an orchestrator that need no warehouse."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.settings import Settings
from app.warehouse import tasks
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
