"""Which folders a load can PUT from."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.warehouse.interface import WarehouseError
from app.warehouse.snowflake_stage import put_statement


@pytest.mark.parametrize("folder", ["/tmp/it's", "/tmp/a\\b", "/tmp/a*", "/tmp/a?"])
def test_a_folder_that_put_cannot_name_is_rejected(folder: str) -> None:
    with pytest.raises(WarehouseError, match=r"PUT cannot name the folder .* Set TMPDIR"):
        put_statement("STOCKS", "run", "trades", Path(folder))


def test_a_folder_with_spaces_can_be_named() -> None:
    assert "'file:///tmp/my files/trades/*.parquet'" in put_statement(
        "STOCKS", "run", "trades", Path("/tmp/my files")
    )
