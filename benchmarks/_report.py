"""Report a benchmark's figures: a table on the screen, and JSON in results/ for the page."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from app.embedded.jars import KAFKA_VERSION
from app.outputs import write_atomically

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("quixstreams", "confluent-kafka", "msgspec")


def spread(figures: list[float]) -> dict[str, float]:
    """Return minimum, median and maximum of the runs."""
    return {"min": min(figures), "median": median(figures), "max": max(figures)}


def percentile(figures: list[float], percent: float) -> float:
    """Return the smallest figure that at least `percent` of the figures do not exceed."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> dict[str, Any]:
    """Return the machine and the versions that the figures were measured with."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        **{name: version(name) for name in LIBRARIES},
    }


def report(
    name: str,
    title: str,
    columns: list[str],
    rows: list[list[str]],
    figures: Any,
    prose: str = "",
    keep: bool = True,
) -> None:
    """Print the table and write `results/NAME.json`, from which `benchmarks.page` makes a section.

    :param figures: the numbers behind the table, machine-readable.
    :param prose: Markdown below the table: what the columns mean, and what was found.
    :param keep: False for a run that was shortened by options: it is only printed.
    """
    table = Table(*columns, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    if not keep:
        return
    content = {
        "title": title,
        "command": " ".join([f"python -m benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "columns": columns,
        "rows": rows,
        "prose": prose,
        "figures": figures,
    }
    write_result(name, content)


def write_result(name: str, content: dict[str, Any]) -> None:
    """Write `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(RESULTS / f"{name}.json", text)
