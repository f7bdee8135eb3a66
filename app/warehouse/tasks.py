"""Entry points for an orchestrator: load and build with the settings of the process.

The DAGs import this module and nothing else of Tickhouse.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.settings import load_settings
from app.warehouse import commands
from app.warehouse.commands import BuildReport, LoadReport


def extract(limit: int | None = None) -> list[tuple[str, str, int]]:
    """List the key, etag and size of the lake's objects that are not in the warehouse yet.

    :param limit: the largest number of objects to list.
    """
    return commands.extract(load_settings(), limit)


def load(listed: Iterable[tuple[str, str, int]]) -> LoadReport:
    """Load the objects that `extract` listed into RAW."""
    return commands.load(load_settings(), listed)


def build() -> BuildReport:
    """Run `dbt build` on what changed since the last build, and publish gold.

    :raises BuildFailed: a model or a test failed; readers keep the last good gold.
    """
    return commands.build(load_settings())
