"""docs/performance.md is what the committed results give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.candles import arguments
from benchmarks.page import NOTES, PAGE, page, results, section

RESULT: dict[str, Any] = {
    "title": "How fast",
    "command": "python -m benchmarks.fast",
    "date": "2026-01-02",
    "machine": {"cores": 2, "machine": "x86_64", "system": "Linux", "python": "3.11.7"},
    "columns": ["who", "trades/s"],
    "rows": [["worker", "300,000"], ["stock", "15,000"]],
    "prose": "The worker is faster.\n",
    "figures": {},
}


def test_the_page_is_what_the_committed_results_give() -> None:
    assert PAGE.read_text() == page(results().values(), NOTES.read_text()), (
        "run `python -m benchmarks.page`"
    )


def test_a_section_reports_what_was_run_on_what_and_what_came_out() -> None:
    assert section(RESULT) == (
        "## How fast\n\n"
        "`python -m benchmarks.fast`, 2026-01-02, on 2 cores (x86_64, Linux), python 3.11.7.\n\n"
        "| who | trades/s |\n| --- | --: |\n| worker | 300,000 |\n| stock | 15,000 |\n\n"
        "The worker is faster.\n"
    )


def test_other_results_join_behind_the_known_ones_by_name(tmp_path: Path) -> None:
    for name in ("state", "candles", "poison"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert list(results(tmp_path)) == ["candles", "poison", "state"]


@pytest.mark.parametrize("name", ["../../pyproject", "/tmp/x", "", "..", "a/b"])
def test_a_result_lies_among_the_results(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["candles", "--result", name])
    with pytest.raises(SystemExit, match="2"):
        arguments()
    assert "is no name of small letters" in capsys.readouterr().err
