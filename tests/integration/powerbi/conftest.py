"""A warehouse with the synthetic market, built by dbt, shared by the tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.embedded.s3 import S3Server
from app.settings import Settings
from app.warehouse import published
from app.warehouse.commands import build, load
from tests.integration.powerbi.market import write_market
from tests.integration.warehouse.lake_writer import LakeWriter
from tests.support import settings_on


@pytest.fixture(scope="package")
def market(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the warehouse that holds the market."""
    settings = settings_on(s3_server, tmp_path_factory.mktemp("market"))
    write_market(LakeWriter(settings))
    load(settings)
    assert build(settings).built
    return settings


@pytest.fixture(scope="package")
def gold_file(market: Settings) -> Path:
    """The published file of that warehouse."""
    path = published.current_path(market)
    assert path is not None
    return path
