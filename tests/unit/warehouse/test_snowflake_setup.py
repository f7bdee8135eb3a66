"""What `tickhouse warehouse init` sends, and which folders a load can PUT from."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from snowflake.connector import errors

from app.settings import Settings
from app.warehouse import snowflake_check
from app.warehouse.interface import WarehouseError
from app.warehouse.snowflake_setup import SETUP, init, setup_statements
from app.warehouse.snowflake_stage import put_statement

DOCS = SETUP.parents[1] / "docs" / "snowflake.md"


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


def test_defaults_give_setup_sql_as_it_is() -> None:
    lines = [line for line in SETUP.read_text().splitlines() if not line.startswith("--")]

    assert ";\n".join(setup_statements(on_snowflake())) in re.sub(r";\n+", ";\n", "\n".join(lines))


def test_init_sets_the_quota_of_a_month_also_of_an_existing_monitor() -> None:
    statements = setup_statements(on_snowflake(snowflake_monthly_credits=92))
    (created,) = (s for s in statements if s.startswith("create resource monitor"))

    assert " credit_quota = 92 " in created
    assert "alter resource monitor TICKHOUSE_MONITOR set credit_quota = 92" in statements


def test_the_default_quota_lasts_a_month_of_the_default_cadence() -> None:
    """By the table of docs/snowflake.md."""
    settings = on_snowflake()
    found = re.search(r"^\|.*\| 1 minute \|.*\| (\d+) \|$", DOCS.read_text(), re.MULTILINE)

    assert found is not None
    assert (settings.warehouse_load_minutes, settings.warehouse_build_minutes) == (1, 1)
    assert settings.snowflake_monthly_credits >= 31 * int(found[1])


@pytest.mark.parametrize(
    ("message", "number", "sentence"),
    [
        (
            "No active warehouse selected in the current session.",
            606,
            r"The warehouse TICKHOUSE is missing, or LOADER may not use it: .*No active warehouse",
        ),
        (
            "Warehouse 'T' cannot be resumed because resource monitor 'M' has exceeded its quota.",
            90073,
            r"The warehouse cannot be used by LOADER .* raise SNOWFLAKE_MONTHLY_CREDITS",
        ),
    ],
)
def test_check_reports_a_warehouse_that_does_not_run(
    message: str, number: int, sentence: str
) -> None:
    class Cursor:
        def execute(self, _: str) -> None:
            raise errors.ProgrammingError(msg=message, errno=number)

    connection = SimpleNamespace(cursor=Cursor)
    (found,) = snowflake_check._problems_of_warehouse(on_snowflake(), "LOADER", connection)

    assert re.match(sentence, found)


@pytest.mark.parametrize("folder", ["/tmp/it's", "/tmp/a\\b", "/tmp/a*", "/tmp/a?"])
def test_a_folder_that_put_cannot_name_is_rejected(folder: str) -> None:
    with pytest.raises(WarehouseError, match=r"PUT cannot name the folder .* Set TMPDIR"):
        put_statement("STOCKS", "run", "trades", Path(folder))


def test_a_folder_with_spaces_can_be_named() -> None:
    assert "'file:///tmp/my files/trades/*.parquet'" in put_statement(
        "STOCKS", "run", "trades", Path("/tmp/my files")
    )
