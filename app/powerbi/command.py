"""`tickhouse powerbi`: writes the Power BI project, or pictures of its pages."""

from __future__ import annotations

from pathlib import Path

from app.powerbi.project import NAME, write_project
from app.powerbi.tmdl import SnowflakeConnection
from app.settings import Settings
from app.warehouse.published import current_path
from app.warehouse.transform import PROJECT


def run(out: Path, connection: SnowflakeConnection) -> None:
    """Write the Power BI project into `out` and print where to open it."""
    written = write_project(out, PROJECT, connection)
    print(f"{len(written)} files; open {out / f'{NAME}.pbip'} in Power BI Desktop.")


def run_preview(settings: Settings, folder: Path, symbol: str | None) -> None:
    """Draw the report's pages with the gold that was last published, as PNGs in `folder`."""
    from app.powerbi.preview import PreviewError, write_previews

    gold = current_path(settings)
    if gold is None:
        raise PreviewError(
            f"No gold has been published under {settings.warehouse_path.parent}: "
            "run `tickhouse load` first, or name the data folder by TICKHOUSE_DATA_DIR."
        )
    for path in write_previews(folder, gold, symbol):
        print(path)
