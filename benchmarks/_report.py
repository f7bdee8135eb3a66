"""A benchmark's figures as a table on the screen and as JSON in results/."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def spread(figures: list[float]) -> dict[str, float]:
    """Minimum, median and maximum of the runs."""
    return {"min": min(figures), "median": median(figures), "max": max(figures)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def report(name: str, title: str, columns: list[str], rows: list[list[str]], figures: Any) -> None:
    """Print the table and write `results/NAME.json`."""
    table = Table(*columns, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    content = {"title": title, "machine": machine(), "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
