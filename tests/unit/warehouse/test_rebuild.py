"""Which session dates are rebuilt together, and where a rebuild continues."""

from __future__ import annotations

from datetime import UTC, datetime

from app.warehouse.interface import Build
from app.warehouse.rebuild import Pass, Unfinished, passes, unfinished

NOW = datetime(2024, 3, 5, tzinfo=UTC)
DATES = [("2024-03-01", 4), ("2024-03-04", 4), ("2024-03-05", 20), ("2024-03-06", 1)]


def build(status: str, detail: str, project: str = "p", load_id: int = 7) -> Build:
    return Build(load_id, NOW, NOW, status, project, detail)


def test_dates_are_grouped_in_order_up_to_the_number_of_rows() -> None:
    assert passes(reversed(DATES), None, 8) == [
        Pass("2024-03-01", "2024-03-04", 8),
        Pass("2024-03-05", "2024-03-05", 20),
        Pass("2024-03-06", "2024-03-06", 1),
    ]


def test_a_rebuild_continues_behind_the_last_date_that_is_done() -> None:
    assert passes(DATES, "2024-03-04", 8) == passes(DATES[2:], None, 8)
    assert passes(DATES, "2024-03-06", 8) == []


def test_a_rebuild_is_unfinished_until_the_next_successful_build() -> None:
    start, done = build("rebuilding", "start"), build("rebuilding", "2024-03-04")

    assert unfinished([]) is None
    assert unfinished([build("failed", "dbt build failed")]) is None
    assert unfinished([start]) == Unfinished(7, "p", None)
    assert unfinished([start, done, build("failed", "no")]) == Unfinished(7, "p", "2024-03-04")
    assert unfinished([start, done, build("rebuilding", "start", "q", 9)]) == Unfinished(
        9, "q", None
    )
