"""Write the documentation of the dbt project as one HTML file, which needs no network.

`python -m scripts.dbt_docs FOLDER` (`make dbt-docs`) builds the models in an empty warehouse of its
own, so that the site shows the type of every column, and reads no data.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from app.errors import TickhouseError
from app.settings import Settings
from app.warehouse.backends import open_warehouse
from app.warehouse.transform import folder, run_dbt

TRACKER = re.compile(r'src="//[^"]*/sp\.js"')
"""The script of usage statistics in dbt's page. It is only loaded when they are switched on, and
they are off here; without its address nothing can load it."""


class DocsFailed(TickhouseError):
    """dbt could not write the documentation."""


def write_site(settings: Settings, out: Path) -> Path:
    """Write the documentation of the models in this warehouse, which are built, to `out`.

    :returns: the file, `index.html`; lineage graph, descriptions and column types are in it.
    :raises DocsFailed: dbt failed; the text has its last lines.
    """
    _dbt(settings, "docs", "generate", "--static")
    out.mkdir(parents=True, exist_ok=True)
    page = (folder(settings) / "static_index.html").read_text(encoding="utf-8")
    written = out / "index.html"
    written.write_text(TRACKER.sub('src=""', page), encoding="utf-8")
    return written


def build_empty(settings: Settings) -> None:
    """Create every table and view of the project, without rows."""
    open_warehouse(settings).close()
    _dbt(settings, "build", "--empty", "--exclude-resource-type", "test", "unit_test")


def _dbt(settings: Settings, *arguments: str) -> None:
    done = run_dbt(settings, *arguments)
    if done.returncode:
        raise DocsFailed(f"dbt {arguments[0]} failed: {(done.stdout + done.stderr)[-2000:]}")


def main(out: Path) -> None:
    """Build in a temporary folder and write the site to `out`."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(_env_file=None, tickhouse_data_dir=Path(home), warehouse="duckdb")  # type: ignore[call-arg]
        build_empty(settings)
        print(f"open {write_site(settings, out)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
