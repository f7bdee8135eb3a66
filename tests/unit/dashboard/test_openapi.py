"""The OpenAPI document describes the answers of every route."""

from __future__ import annotations

import jsonschema
from starlette.routing import Route
from starlette.testclient import TestClient

from app.dashboard.live import LiveCandles
from app.dashboard.page import Page
from app.settings import Settings
from tests.candle_maker import candle, partial, publish_gold
from tests.unit.dashboard.test_routes import apply

_ELSEWHERE = {"/", "/healthz", "/api/openapi.json"}


def test_every_route_is_described_and_answers_as_described(
    client: TestClient,
    live: LiveCandles,
    page: Page,
    settings: Settings,
) -> None:
    publish_gold(settings, "1.duckdb", kpi=[{"symbol": "AAPL"}])
    page.gold.refresh()
    apply(live, candle(minute=0), partial(minute=1))
    document = client.get("/api/openapi.json").json()
    routes = {route.path for route in client.app.routes if isinstance(route, Route)}  # type: ignore[attr-defined]
    assert set(document["paths"]) == routes - _ELSEWHERE

    for path in document["paths"].keys() - {"/events"}:
        answer = client.get(path.replace("{table}", "kpi"), params={"symbol": "AAPL"})
        assert answer.status_code == 200
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"] | {"components": document["components"]}
        jsonschema.validate(answer.json(), schema)


def test_long_answers_are_compressed_and_event_streams_are_not(client: TestClient) -> None:
    script = client.get("/static/vendor/lightweight-charts.standalone.production.js")
    assert script.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get("/healthz").headers
