"""The page without Kafka, threads and browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.settings import Settings
from tests.candle_maker import MINUTE, START

NOW = START + 10 * MINUTE


class NoThreads:
    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")


@pytest.fixture
def live() -> LiveCandles:
    return LiveCandles("replay", (CANDLES_TOPIC, LIVE_TOPIC))


@pytest.fixture
def page(settings: Settings, live: LiveCandles) -> Page:
    return Page(settings, live, GoldReader(settings), lambda: NOW)


@pytest.fixture
def client(page: Page) -> Iterator[TestClient]:
    app = create_app(page, [NoThreads()], LOOPBACK_NAMES)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client
