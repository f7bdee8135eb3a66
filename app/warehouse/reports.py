"""Reports of loads and builds, and their sentences for logs and the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from app.warehouse.raw import RETRY_COMMAND


class LoadReport(NamedTuple):
    """Result of a load, and whether a build is due after it."""

    objects: int
    rows: dict[str, int]
    rejected: dict[str, str]
    load_id: int
    build_due: bool
    seconds: float

    def sentences(self) -> Iterator[str]:
        """What was loaded, and each object that was rejected."""
        counts = ", ".join(f"{rows:,} {name}" for name, rows in sorted(self.rows.items()))
        yield (
            f"Loaded {sum(self.rows.values()):,} rows of {self.objects:,} new objects"
            f"{f' ({counts})' if counts else ''} in {self.seconds:.1f} s; the newest load is "
            f"{self.load_id}."
        )
        for key, reason in self.rejected.items():
            yield (
                f"Rejected {key}: {reason.rstrip('.')}. It is tried again when it changes, and by "
                f"`{RETRY_COMMAND}`."
            )


class BuildReport(NamedTuple):
    """Result of a build; `built` is false when none was due."""

    built: bool
    load_id: int
    full: bool
    models: int
    tests: int
    published: Path | None
    seconds: float
    outdated: bool = False
    """The SQL of silver changed, and rows that were built before that did not follow."""

    def sentences(self) -> Iterator[str]:
        """What was built and tested, and the file that readers open now."""
        if self.built:
            yield (
                f"Built {'all models' if self.full else 'changes'} up to load {self.load_id}: "
                f"{self.models} models and {self.tests} tests passed in {self.seconds:.1f} s. "
                f"Readers open {self.published}."
            )
        else:
            yield f"There is nothing to build: gold has load {self.load_id}."
        if self.outdated:
            yield (
                "The SQL or the seeds of silver have changed, and only rows that were built since "
                "follow the change. To compute all rows again from RAW, run `tickhouse load "
                "--rebuild`, in passes of some days each, or `tickhouse load --full-refresh`, in "
                "one transaction."
            )
