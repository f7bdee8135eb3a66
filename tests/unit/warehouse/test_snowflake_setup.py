"""What `tickhouse warehouse init` sends, and which folders a load can PUT from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.snowflake_setup import init
from app.warehouse.snowflake_stage import put_statement


def on_snowflake(**given: object) -> Settings:
    return Settings(_env_file=None, warehouse="snowflake", **given)


def test_types_of_times_do_not_depend_on_the_session_that_creates_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An administrator may run what is printed, with another TIMESTAMP_TYPE_MAPPING."""
    init(on_snowflake(), dry_run=True)
    printed = capsys.readouterr().out

    assert re.search(r"RAW\.TRADES \(.*\btrade_time datetime\b", printed)
    assert re.findall(r"\w+ timestamp\b", printed) == []


@pytest.mark.parametrize("folder", ["/tmp/it's", "/tmp/a\\b", "/tmp/a*", "/tmp/a?"])
def test_a_folder_that_put_cannot_name_is_rejected(folder: str) -> None:
    with pytest.raises(WarehouseError, match=r"PUT cannot name the folder .* Set TMPDIR"):
        put_statement("STOCKS", "run", "trades", Path(folder))


def test_a_folder_with_spaces_can_be_named() -> None:
    assert "'file:///tmp/my files/trades/*.parquet'" in put_statement(
        "STOCKS", "run", "trades", Path("/tmp/my files")
    )
