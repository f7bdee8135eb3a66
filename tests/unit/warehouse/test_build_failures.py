"""Whatever ends a build is recorded with its reason, and raised again."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.warehouse import commands, transform
from app.warehouse.commands import build, opened
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import Build, WarehouseError
from app.warehouse.progress import read_progress
from app.warehouse.transform import BuildFailed, DbtResult, folder

FULL_DISK = OSError(errno.ENOSPC, "No space left on device", "gold-000000000001.duckdb")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]


@pytest.fixture
def dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dbt that succeeds and builds nothing."""
    monkeypatch.setattr(commands, "dbt_build", lambda *_, **__: DbtResult(1, 1, ()))


def raises(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def failure(settings: Settings) -> str:
    """The reason that `tickhouse status` reports for the last build."""
    failed = read_progress(settings).failed_build
    assert failed is not None
    return str(failed.failure)


def ledger(settings: Settings) -> list[Build]:
    with opened(settings, "test") as warehouse:
        return warehouse.builds_after_last()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WarehouseError("Gold could not be read: no role."), "Gold could not be read: no role."),
        (FULL_DISK, "gold-000000000001.duckdb cannot be used: No space left on device."),
        (ValueError("no JSON\n at all"), "ValueError: no JSON at all."),
    ],
)
@pytest.mark.parametrize("step", ["dbt", "publish"])
def test_error_in_any_step_is_recorded_as_a_failed_build(
    settings: Settings,
    dbt: None,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    sentence: str,
) -> None:
    if step == "dbt":
        monkeypatch.setattr(commands, "dbt_build", raises(error))
    else:
        monkeypatch.setattr(DuckDBWarehouse, "publish", raises(error))

    with pytest.raises(type(error)) as raised:
        build(settings)

    assert raised.value is error
    assert failure(settings).startswith(sentence)
    (recorded,) = ledger(settings)
    assert (recorded.status, recorded.detail) == ("failed", failure(settings))


def test_gold_that_cannot_be_written_is_named_with_its_file(settings: Settings, dbt: None) -> None:
    with pytest.raises(WarehouseError, match=r"gold-000000000001\.duckdb: Catalog Error: .*exist"):
        build(settings)

    assert "free some space" in failure(settings)


def test_failure_that_cannot_be_recorded_does_not_hide_the_reason(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(commands, "dbt_build", raises(BuildFailed("dbt build failed: a_test.")))
    monkeypatch.setattr(commands, "record_build", raises(FULL_DISK))

    with pytest.raises(BuildFailed, match="a_test"), caplog.at_level(logging.ERROR):
        build(settings)

    assert "could not be recorded: gold-000000000001.duckdb cannot be used" in caplog.text
    assert [recorded.detail for recorded in ledger(settings)] == ["dbt build failed: a_test."]


def test_failed_pass_of_a_rebuild_is_recorded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DuckDBWarehouse, "session_dates", lambda _: [("2024-03-05", 1)])
    monkeypatch.setattr(commands, "dbt_build_dates", raises(FULL_DISK))

    with pytest.raises(OSError, match="No space"):
        build(settings, rebuild=True)

    assert [recorded.status for recorded in ledger(settings)] == ["rebuilding", "failed"]
    assert "No space left on device" in failure(settings)


def test_results_of_dbt_that_are_cut_off_are_a_failed_build(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        results = folder(settings) / "run_results.json"
        results.write_text(json.dumps({"results": []})[:-2])
        return subprocess.CompletedProcess([], 0, "", "")

    folder(settings).mkdir(parents=True)
    monkeypatch.setattr(transform, "run_dbt", cut_off)

    with pytest.raises(BuildFailed, match=r"results .*run_results\.json cannot be read"):
        build(settings)

    assert "run_results.json cannot be read" in failure(settings)
