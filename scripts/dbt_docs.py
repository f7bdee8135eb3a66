"""Write the documentation of the dbt project as a single HTML file that needs no network.

`python -m scripts.dbt_docs FOLDER` (`make dbt-docs`) builds the models in an empty, temporary
warehouse, so that the site shows the type of every column. It reads no data.
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
"""The script for usage statistics in dbt's page. It is only loaded if statistics are enabled, which
they are not. Without its address nothing can load it."""


class DocsFailed(TickhouseError):
    """dbt could not write the documentation."""


def write_site(settings: Settings, out: Path) -> Path:
    """Write the documentation of the models in this warehouse to `out`; they must be built.

    :returns: the file `index.html`, with lineage graph, descriptions and column types.
    :raises DocsFailed: dbt failed; the message has its last lines.
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
    """Build in a temporary folder, and write the site to `out`."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(_env_file=None, tickhouse_data_dir=Path(home), warehouse="duckdb")  # type: ignore[call-arg]
        build_empty(settings)
        print(f"open {write_site(settings, out)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
