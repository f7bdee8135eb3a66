"""Generate docs/performance.md from the benchmarks' results in results/."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.outputs import write_atomically
from benchmarks._report import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
NOTES = Path(__file__).with_name("notes.md")
"""Measured once, by hand; the end of the page."""
FIRST = ("candles", "latency", "scaling")
"""The first results on the page; the others follow by name."""

_HEAD = """\
# Performance

`make bench` (`python -m benchmarks.page`) generates this page from the results of the benchmarks in
`benchmarks/results/`. Ratios compare figures of the same run. Absolute figures depend on the
machine, and vary by 20 % and more between runs.

`make bench BENCHMARKS="latency scaling"` runs only these benchmarks. During development, options
shorten a benchmark
(`python -m benchmarks.candles --trades 300000 --runs 1 --framing 10 --only topology,core`). It then
prints its table and does not change the page, unless `--keep` is given.
"""


def results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return every result by its benchmark's name, in the page's order."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    names = [name for name in FIRST if name in found]
    return {name: found[name] for name in [*names, *sorted(found.keys() - set(names))]}


def page(results: Iterable[dict[str, Any]], notes: str) -> str:
    """Return the page as Markdown: a section per result, then `notes`."""
    return "\n".join([_HEAD, *map(section, results), notes])


def section(result: dict[str, Any]) -> str:
    """Return a result as Markdown: what was run, on what, its table, and what it means."""
    machine = dict(result["machine"])
    on = f"{machine.pop('cores')} cores ({machine.pop('machine')}, {machine.pop('system')})"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    parts = [
        f"## {result['title']}",
        f"`{result['command']}`, {result['date']}, on {on}, {versions}.",
        _table(result["columns"], result["rows"]),
        result["prose"].strip(),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    write_atomically(PAGE, page(results().values(), NOTES.read_text()))
    print(f"{PAGE} is written")


if __name__ == "__main__":
    main()
