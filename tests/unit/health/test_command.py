"""What `tickhouse status` prints."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from app.health.command import of_stage, render
from app.health.monitor import Health
from app.health.stages import Stage, problems

NOW = 1_790_000_000_000


def printed(*stages: Stage) -> str:
    found = [stage.problem for stage in stages if stage.problem]
    output = StringIO()
    health = Health(NOW, "mine", "live", list(stages), found)
    Console(file=output, width=100).print(render(health))
    return output.getvalue()


def test_each_stage_is_a_row_with_its_age_lag_and_rate() -> None:
    text = printed(Stage("candles", "ok", NOW - 5_000, "processing", lag=1_234, rate=20.25))
    (row,) = [line for line in text.splitlines() if "candles" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "candles",
        "ok",
        "5 s ago",
        "1,234",
        "20.2",
        "processing",
    ]
    assert "Pipeline of the live feed, namespace mine" in text
    assert text.rstrip().endswith("No problems.")


def test_problems_follow_the_table_as_sentences_shown_as_written() -> None:
    text = printed(
        Stage("load", "problem", None, "behind", problem="Run `tickhouse load` [now]."),
        Stage("build", "problem", NOW - 7_200_000, "failed", problem="It failed."),
    )
    assert "1. Run `tickhouse load` [now]." in text
    assert "2. It failed." in text
    assert "2 h ago" in text


def test_a_single_stage_is_judged_alone() -> None:
    stages = [
        Stage("feed", "problem", None, "silent", problem="The feed is silent."),
        Stage("candles", "ok", NOW, "processing"),
    ]
    health = Health(NOW, "", "live", stages, problems(stages))
    assert of_stage(health, "candles").problems == []
    assert of_stage(health, "feed").problems == ["The feed is silent."]
    assert [stage.name for stage in of_stage(health, "feed").stages] == ["feed"]
