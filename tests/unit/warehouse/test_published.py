"""The pointer to the file that readers open."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from app.settings import Settings
from app.warehouse import published


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]


def publish(settings: Settings) -> Path:
    path = published.next_path(settings)
    path.write_bytes(b"gold")
    published.point_to(path)
    return path


def test_nothing_is_published_before_the_first_build(settings: Settings) -> None:
    assert published.current_path(settings) is None


def test_each_build_has_a_name_of_its_own_and_the_last_two_are_kept(settings: Settings) -> None:
    paths = [publish(settings) for _ in range(4)]

    assert len({path.name for path in paths}) == 4
    assert published.current_path(settings) == paths[-1]
    assert [path.exists() for path in paths] == [False, False, True, True]


def test_file_that_a_crash_left_unpointed_is_not_read_and_not_overwritten(
    settings: Settings,
) -> None:
    good = publish(settings)
    published.next_path(settings).write_bytes(b"half")

    assert published.current_path(settings) == good
    assert publish(settings).read_bytes() == b"gold"


def test_tables_that_cannot_be_written_leave_no_file(settings: Settings) -> None:
    path = published.next_path(settings)
    with duckdb.connect() as without_gold:
        with pytest.raises(duckdb.CatalogException):
            published.write_tables(without_gold, path)
        assert [name for (name,) in without_gold.sql("show databases").fetchall()] == ["memory"]

    assert list(path.parent.iterdir()) == []


def test_pointer_to_a_file_that_is_gone_is_none(settings: Settings) -> None:
    publish(settings).unlink()

    assert published.current_path(settings) is None
