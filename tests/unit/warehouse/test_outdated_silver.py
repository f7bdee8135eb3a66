"""After a change of silver's SQL its older rows are reported as outdated until it is rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from app.warehouse import commands
from app.warehouse.commands import build
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.progress import read_progress
from app.warehouse.reports import BuildReport
from app.warehouse.transform import DbtResult, Fingerprint


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty warehouse on which dbt always succeeds."""

    def succeed(*_: object, **__: object) -> DbtResult:
        return DbtResult(1, 1, ())

    def publish(_: DuckDBWarehouse, path: Path, *__: object) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return False

    monkeypatch.setattr(commands, "dbt_build", succeed)
    monkeypatch.setattr(DuckDBWarehouse, "publish", publish)
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]


def test_rows_built_before_a_change_of_silver_are_reported_until_they_are_rebuilt(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(project: str, *, full_refresh: bool = False) -> BuildReport:
        monkeypatch.setattr(commands, "fingerprint", lambda: Fingerprint.parse(project))
        report = build(settings, full_refresh=full_refresh)
        assert read_progress(settings).build.outdated == report.outdated  # type: ignore[union-attr]
        assert ("--rebuild" in " ".join(report.sentences())) == report.outdated
        return report

    assert not built("p1-s1").outdated
    assert not built("p2-s1").outdated  # gold changed

    changed, later, back = built("p3-s2"), built("p3-s2"), built("p1-s1")
    assert (changed.built, changed.outdated) == (True, True)
    assert (later.built, later.outdated) == (False, True)
    assert (back.built, back.outdated) == (True, True)  # rows of s2 are still there

    assert not built("p1-s1", full_refresh=True).outdated
    assert not built("p1-s1").outdated
