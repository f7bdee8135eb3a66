"""Access to the page by a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.dashboard.access import COOKIE
from app.dashboard.gold import GoldReader
from app.dashboard.live import LiveCandles
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import DashboardError, run
from app.settings import Settings

TOKEN = "a token of sixteen or more"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path, tickhouse_feed="replay")
    page = Page(settings, LiveCandles("replay"), GoldReader(settings), lambda: 0)
    app = create_app(page, [], ["*"], token=TOKEN)
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/api/status", "/events?symbol=A", "/static/main.js"])
def test_without_the_token_nothing_is_shown(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert "DASHBOARD_TOKEN" in answer.text


def test_without_the_token_nothing_is_changed(client: TestClient) -> None:
    assert client.post("/api/replay", json={"paused": True}).status_code == 401


def test_a_program_sends_the_token_in_a_header(client: TestClient) -> None:
    answer = client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    wrong = client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}x"})
    assert wrong.status_code == 401


def test_a_browser_opens_the_page_once_with_the_token_and_keeps_a_cookie(
    client: TestClient,
) -> None:
    answer = client.get("/", params={"symbol": "AAPL", "token": TOKEN})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?symbol=AAPL"
    cookie = answer.headers["set-cookie"]
    assert COOKIE in cookie
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/").status_code == 200
    assert client.get("/api/status").status_code == 200


def test_the_token_leaves_the_address_also_when_the_browser_has_its_cookie(
    client: TestClient,
) -> None:
    for _ in range(2):
        answer = client.get("/", params={"token": TOKEN, "symbol": "AAPL"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/?symbol=AAPL")


def test_a_wrong_token_in_the_address_opens_nothing(client: TestClient) -> None:
    assert client.get("/", params={"token": "wrong"}).status_code == 401
    assert client.get("/", params={"token": ""}).status_code == 401


def test_health_needs_no_token(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200


def test_another_address_needs_a_token(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path)
    with pytest.raises(DashboardError, match="Set DASHBOARD_TOKEN"):
        run(settings, "0.0.0.0", 0)
