"""Print the health of the pipeline: `tickhouse status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.health.monitor import Health, check
from app.health.observe import Observer
from app.health.stages import Stage, format_duration, problems
from app.settings import Settings

WATCH_S = 2.0
STYLES = {"ok": "green", "waiting": "yellow", "problem": "bold red"}


def run(settings: Settings, *, as_json: bool, watch: bool, stage: str | None = None) -> None:
    """Print the health once, or with `watch` until Ctrl-C; exit with 1 if there is a problem.

    :param stage: report only this stage, one of `STAGE_NAMES`.
    """
    observer = Observer(settings)

    def check_now() -> Health:
        health = check(observer, _now_ms())
        return health if stage is None else of_stage(health, stage)

    if watch and as_json:
        _watch_json(check_now)
    if watch:
        _watch(check_now)
    health = check_now()
    if as_json:
        print(_json(health))
    else:
        Console(soft_wrap=True).print(render(health), highlight=False)
    sys.exit(1 if health.problems else 0)


def of_stage(health: Health, name: str) -> Health:
    """Return `health` with one stage only."""
    stages = [stage for stage in health.stages if stage.name == name]
    return msgspec.structs.replace(health, stages=stages, problems=problems(stages))


def _watch(check_now: Callable[[], Health]) -> None:
    health = check_now()
    try:
        with Live(render(health), auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_S)
                health = check_now()
                live.update(render(health), refresh=True)
    except KeyboardInterrupt:
        sys.exit(1 if health.problems else 0)


def _watch_json(check_now: Callable[[], Health]) -> None:
    found: list[str] = []
    try:
        while True:
            health = check_now()
            found = health.problems
            print(_json(health), flush=True)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        sys.exit(1 if found else 0)


def render(health: Health) -> RenderableType:
    """Return a table of the stages, with the problems below it."""
    table = Table("stage", "state", "newest", title=_title(health), title_justify="left")
    for figure in ("lag", "per s"):
        table.add_column(figure, justify="right")
    table.add_column("")
    for stage in health.stages:
        state = Text(stage.state, style=STYLES[stage.state])
        lag = "" if stage.lag is None else f"{stage.lag:,}"
        rate = "" if stage.rate is None else f"{stage.rate:,.1f}"
        table.add_row(stage.name, state, age(health.at, stage), lag, rate, Text(stage.detail))
    lines = [Text(f"{number}. {text}") for number, text in enumerate(health.problems, 1)]
    return Group(table, *(lines or [Text("No problems.")]))


def age(now: int, stage: Stage) -> str:
    """Return the age of the stage's newest output, in words."""
    if stage.newest_ms is None:
        return "–"
    return f"{format_duration(max(0, now - stage.newest_ms))} ago"


def _title(health: Health) -> str:
    namespace = f", namespace {health.namespace}" if health.namespace else ""
    return f"Pipeline of the {health.feed} feed{namespace}"


def _json(health: Health) -> str:
    return msgspec.json.encode(health).decode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
