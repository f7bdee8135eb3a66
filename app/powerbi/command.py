"""`tickhouse powerbi`: writes the Power BI project."""

from __future__ import annotations

from pathlib import Path

from app.powerbi.project import NAME, write_project
from app.powerbi.tmdl import Connection
from app.warehouse.transform import PROJECT


def run(out: Path, connection: Connection) -> None:
    """Write the Power BI project into `out` and say where to open it."""
    written = write_project(out, PROJECT, connection)
    print(f"{len(written)} files; open {out / f'{NAME}.pbip'} in Power BI Desktop.")
