"""The warehouses of drills, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.s3 import S3Server
from tests.drills.warehouses import DrillWarehouse, OnDuckDB, OnLake, OnSnowflake
from tests.snowflake_local.process import LocalSnowflake
from tests.support import settings_on


@pytest.fixture(params=["duckdb", "snowflake"])
def warehouse(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path: Path
) -> Iterator[DrillWarehouse]:
    settings = settings_on(s3_server, tmp_path / "data")
    if request.param == "duckdb":
        yield OnDuckDB(settings)
    else:
        kind = OnSnowflake if request.param == "snowflake" else OnLake
        with LocalSnowflake.beside(s3_server, tmp_path / "snowflake") as server:
            yield kind(server, settings)
