"""Progress of loads and builds beside the warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from app.warehouse.progress import (
    BuildProgress,
    LoadProgress,
    Progress,
    read_progress,
    record_build,
    record_load,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "default" / "warehouse"
    folder.mkdir(parents=True)
    return Settings(tickhouse_data_dir=tmp_path)


def test_before_the_first_load_there_is_no_progress(settings: Settings) -> None:
    assert read_progress(settings) == Progress()


def test_loads_and_builds_are_recorded_beside_each_other(settings: Settings) -> None:
    record_load(settings, LoadProgress(3, 1_000, 2))
    record_build(settings, BuildProgress(3, 2_000))
    record_load(settings, LoadProgress(4, 3_000))
    assert read_progress(settings) == Progress(LoadProgress(4, 3_000), BuildProgress(3, 2_000))


def test_a_failed_build_stands_until_one_succeeds(settings: Settings) -> None:
    record_build(settings, BuildProgress(3, 1_000))
    record_build(settings, BuildProgress(4, 2_000, "a test failed"))
    assert read_progress(settings).build == BuildProgress(3, 1_000)
    assert read_progress(settings).failed_build == BuildProgress(4, 2_000, "a test failed")
    record_build(settings, BuildProgress(5, 3_000))
    assert read_progress(settings).failed_build is None


def test_a_damaged_file_is_replaced(settings: Settings) -> None:
    path = settings.warehouse_path.with_name("progress.json")
    path.write_text('{"load":')
    assert read_progress(settings) == Progress()
    record_load(settings, LoadProgress(1, 1_000))
    assert read_progress(settings).load == LoadProgress(1, 1_000)
