"""Which reports of coverage are archived."""

from __future__ import annotations

from collections.abc import Iterable

from sinks.coverage import latest_reports
from sinks.rows import Row, stocks_rows
from tests.unit.sinks.records import T0, record, watermark


def rows(messages: Iterable[dict[str, object]]) -> list[Row]:
    made = []
    for offset, fields in enumerate(messages):
        message = watermark(**fields)
        item = record(message, offset, key=str(fields.get("symbol", "AAPL")).encode())
        made += stocks_rows(item, "replay").rows
    return made


def offsets(found: list[Row]) -> list[int]:
    return [row[-3] for row in found]


def test_of_sixty_reports_of_a_minute_the_last_one_is_kept() -> None:
    reports = ({"t": T0 + 1000 * s, "minute_start": T0, "covered_ms": 1000 * s} for s in range(60))

    assert offsets(latest_reports(rows(reports))) == [59]


def test_minutes_symbols_and_sources_have_reports_of_their_own() -> None:
    reports = [
        {"minute_start": T0},
        {"minute_start": T0 + 60_000},
        {"minute_start": T0, "symbol": "MSFT"},
        {"minute_start": T0, "source": "other"},
        {"minute_start": T0},
    ]

    assert offsets(latest_reports(rows(reports))) == [0, 1, 2, 3, 4]


def test_a_report_without_coverage_does_not_replace_one_with_it() -> None:
    reports = [
        {"minute_start": T0, "covered_ms": 5, "t": T0 + 1},
        {"minute_start": T0, "covered_ms": None, "t": T0 + 9},
        {"minute_start": T0, "covered_ms": None, "t": T0 + 2},
    ]

    assert offsets(latest_reports(rows(reports))) == [0, 1]


def test_a_report_without_a_minute_is_of_the_watermarks_minute() -> None:
    reports = [{"minute_start": None, "covered_ms": None, "t": T0 + s} for s in (1, 2, 60_001)]

    assert offsets(latest_reports(rows(reports))) == [1, 2]
