"""The health checks of compose.yaml over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts.check_url import problem

HEALTH = b'{"scheduler": {"status": "healthy"}, "dag_processor": {"status": null}}'


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(HEALTH)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_service_that_answers_is_well_and_so_is_a_healthy_part(url: str) -> None:
    assert problem(f"{url}/health") is None
    assert problem(f"{url}/health", "scheduler") is None


def test_an_error_and_an_unhealthy_or_unknown_part_are_problems(url: str) -> None:
    assert "503" in (problem(f"{url}/other") or "")
    assert "dag_processor is None" in (problem(f"{url}/health", "dag_processor") or "")
    assert "triggerer is None" in (problem(f"{url}/health", "triggerer") or "")
